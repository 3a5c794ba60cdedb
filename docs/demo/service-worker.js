// After the first visit the page works without a network: all files of one build are kept, under its version.
// files.js is written by scripts/demo.py: what is kept at once, and what once it was used.

importScripts("files.js");

const { version, files, later } = self.DEMO;
const NAME = `keras-coda-demo-${version}`;
const absolute = (path) => new URL(path, self.registration.scope).href;

// Past the browser's own cache, which may hold files of another build.
const fresh = (url) => new Request(url, { cache: "reload" });

self.addEventListener("install", (event) => {
  const requests = files.map((path) => fresh(absolute(path)));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(requests)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const removed = caches.keys().then((names) =>
    Promise.all(names.filter((name) => name.startsWith("keras-coda-demo-") && name !== NAME).map((name) => caches.delete(name)))
  );
  event.waitUntil(removed.then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = event.request.url.split(/[?#]/)[0];
  const kept = files.some((path) => absolute(path) === url);
  if (event.request.method !== "GET" || !(kept || later.some((path) => absolute(path) === url))) return;
  event.respondWith(answer(url));
});

async function answer(url) {
  const cache = await caches.open(NAME);
  const found = await cache.match(url);
  if (found) return found;
  const response = await fetch(fresh(url));
  if (response.ok) await cache.put(url, response.clone());
  return response;
}
