// The page: an image comes in, the network explains it, and the chosen class is shown.

import { ACCEPTED, readBitmap, readFile, UnreadableImage } from "./images.js";
import { contributionLimit, forAndAgainst, mapPixels, overlayPixels, runningSum } from "./maps.js";
import { difference, Network } from "./network.js";

const at = (id) => document.getElementById(id);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

let description, network, loading;
let pixels = null; // of the image shown
let explanation = null; // and what the network makes of it
let chosen = 0; // the class that stays when the pointer leaves the list
let shown = 0; // the class that is drawn
let sum = null; // its running sum
let animation = null;
let turn = 0; // of the image asked for last: earlier answers are dropped

// Numbers for people

const signed = (x, digits = 2) => (x < 0 ? "−" : "") + Math.abs(x).toFixed(digits);
const percent = (p) => (p >= 0.9995 ? "> 99.9 %" : p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
const scientific = (x) => {
  if (x === 0) return "0";
  const [digits, power] = x.toExponential(0).split("e");
  return `${digits.replace("-", "−")} · 10${[...power].map((c) => ({ "-": "⁻", "+": "" })[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("")}`;
};

// An image comes in

async function explain(read, sample = null) {
  const mine = ++turn;
  stopAdding();
  at("result").setAttribute("aria-busy", "true");
  try {
    await loading;
    const image = await read();
    const answer = await network.explain(image.pixels);
    if (mine !== turn) return;
    pixels = image.pixels;
    explanation = answer;
    showMessage(null);
    markSample(sample);
    showAnswer(image, sample);
    document.dispatchEvent(new CustomEvent("explained", { detail: { ...answer, pixels } }));
  } catch (error) {
    if (mine !== turn) return;
    showMessage(error instanceof UnreadableImage ? error.message : `The image could not be explained: ${error.message}`);
  }
  at("result").setAttribute("aria-busy", String(explanation === null));
}

const explainFile = (file) => explain(() => readFile(file, description.width, description.height));

async function explainSample(sample) {
  const file = async () => {
    const blob = await (await fetch(sample.file)).blob();
    return readFile(blob, description.width, description.height);
  };
  await explain(file, sample);
}

function showMessage(text) {
  at("message").hidden = text === null;
  at("message").textContent = text ?? "";
}

function markSample(sample) {
  for (const button of at("samples").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(sample !== null && button.dataset.file === sample.file));
  }
}

// The answer

function showAnswer(image, sample) {
  const { probabilities, maps } = explanation;
  explanation.limit = contributionLimit(maps.flatMap((map) => [...map]));
  at("low").textContent = signed(-explanation.limit, 3);
  at("high").textContent = `+${explanation.limit.toFixed(3)}`;
  const order = [...probabilities.keys()].sort((a, b) => explanation.logits[b] - explanation.logits[a]);
  chosen = order[0];
  fillClasses(order);
  show(chosen);
  at("truth").textContent = `${sample ? `Its label: ${sample.label}. ` : ""}Choose a class to see its pixels`;
  const size = image.width === description.width && image.height === description.height ? ""
    : `${image.width} × ${image.height} pixels, cut and scaled to ${description.width} × ${description.height}. `;
  at("status").textContent =
    `${size}${description.classes[chosen]}, ${percent(probabilities[chosen])}: classified and explained in ${Math.ceil(explanation.milliseconds)} ms on this device.`;
}

function fillClasses(order) {
  const focused = at("classes").contains(document.activeElement);
  at("classes").replaceChildren(...order.map((k) => {
    const row = document.createElement("label");
    row.className = "row";
    row.dataset.class = k;
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: k, className: "hidden", checked: k === chosen });
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: description.classes[k] });
    const track = Object.assign(document.createElement("span"), { className: "track" });
    const fill = Object.assign(document.createElement("span"), { className: "fill" });
    fill.style.width = `${100 * explanation.probabilities[k]}%`;
    track.append(fill);
    const value = Object.assign(document.createElement("span"), { className: "value", textContent: percent(explanation.probabilities[k]) });
    row.append(radio, name, track, value);
    row.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(k));
    radio.addEventListener("change", () => show((chosen = k)));
    return row;
  }));
  if (focused) at("classes").querySelector("input:checked").focus();
}

// Draw a class: its map over and beside the image, and its sum.
function show(k) {
  stopAdding();
  shown = k;
  const name = description.classes[k];
  const map = explanation.maps[k];
  sum = runningSum(map, description.bias);
  for (const row of at("classes").children) row.classList.toggle("shown", Number(row.dataset.class) === k);
  at("sum-class").textContent = name;
  at("overlay").setAttribute("aria-label", `The image, with what speaks for ${name} in red and against it in blue`);
  at("map").setAttribute("aria-label", `Contribution map of ${name}`);
  const residual = explanation.residuals[k];
  at("residual").textContent = Math.abs(residual) < 1e-4
    ? `The sum of all ${map.length} pixels and b₀ differs from the network's logit, ${signed(explanation.logits[k], 4)}, by ${scientific(Math.abs(residual))}: rounding.`
    : `The sum differs from the network's logit, ${signed(explanation.logits[k], 4)}, by ${scientific(Math.abs(residual))}.`;
  drawChart();
  at("added").max = map.length;
  addPixels(map.length);
}

// The sum, pixel by pixel

const CHART = { width: 640, height: 120, margin: 8 };

function drawChart() {
  const low = Math.min(0, ...sum.sums);
  const high = Math.max(0, ...sum.sums);
  const { height, margin, width } = CHART;
  sum.y = (value) => margin + ((height - 2 * margin) * (high - value)) / (high - low || 1);
  sum.points = Array.from(sum.sums, (value, i) => `${((width * i) / (sum.sums.length - 1)).toFixed(1)},${sum.y(value).toFixed(2)}`);
  const goal = sum.y(explanation.logits[shown]);
  for (const [id, y] of [["zero", sum.y(0)], ["goal", goal]]) {
    at(id).setAttribute("y1", y);
    at(id).setAttribute("y2", y);
  }
  at("goal-name").textContent = `logit ${signed(explanation.logits[shown])}`;
  at("goal-name").style.top = `${(100 * goal) / height}%`;
  at("goal-name").classList.toggle("above", goal > height / 2);
}

function addPixels(count) {
  const map = explanation.maps[shown];
  const { order, sums, points } = sum;
  const all = count >= map.length;
  let mask = null;
  if (!all) {
    mask = new Uint8Array(map.length);
    for (const pixel of order.slice(0, count)) mask[pixel] = 1;
  }
  const added = all ? map : order.slice(0, count).map((pixel) => map[pixel]);
  const { positive, negative } = forAndAgainst(added);
  at("bias").textContent = signed(description.bias, 3);
  at("positive").textContent = positive.toFixed(3);
  at("negative").textContent = Math.abs(negative).toFixed(3);
  at("total").textContent = signed(sums[count], 3);
  at("total-name").textContent = all ? "logit" : "so far";
  at("path").setAttribute("d", `M${points.slice(0, count + 1).join("L")}`);
  at("rest").setAttribute("d", `M${points.slice(count).join("L")}`);
  at("added").value = count;
  at("count").textContent = `${count} of ${map.length} pixels${all ? "" : ", strongest first"}`;
  draw(mask);
}

function draw(mask = null) {
  const map = explanation.maps[shown];
  const strength = Number(at("strength").value);
  paint(at("map"), mapPixels(map, explanation.limit, description.colours, mask));
  paint(at("overlay"), overlayPixels(pixels, map, explanation.limit, description.colours, strength, mask));
}

function paint(canvas, rgba) {
  canvas.width = description.width;
  canvas.height = description.height;
  canvas.getContext("2d").putImageData(new ImageData(rgba, canvas.width, canvas.height), 0, 0);
}

function play() {
  stopAdding();
  const last = explanation.maps[shown].length;
  if (reducedMotion.matches) return addPixels(last);
  const start = performance.now();
  const step = (now) => {
    const part = Math.min((now - start) / 2600, 1);
    // Slowly at first, where the strong pixels are.
    addPixels(Math.round(last * part ** 2));
    animation = part < 1 ? requestAnimationFrame(step) : null;
  };
  animation = requestAnimationFrame(step);
}

function stopAdding() {
  if (animation !== null) cancelAnimationFrame(animation);
  animation = null;
}

// The camera

async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    at("video").srcObject = stream;
    at("dialog").showModal();
  } catch {
    showMessage("There is no camera, or this page may not use it.");
  }
}

function closeCamera() {
  for (const track of at("video").srcObject?.getTracks() ?? []) track.stop();
  at("video").srcObject = null;
}

async function shoot() {
  const bitmap = await createImageBitmap(at("video"));
  at("dialog").close();
  await explain(() => readBitmap(bitmap, description.width, description.height));
}

// WebGPU is taken where it gives what WebAssembly gives, and is refused where it does not.
const TOLERANCE = 1e-4;

async function change(provider) {
  at("provider").disabled = true;
  try {
    if (provider === "webgpu" && !(await navigator.gpu.requestAdapter())) throw new Error("this browser finds no graphics device");
    const other = await Network.open(description, provider);
    try {
      const largest = difference(await other.explain(pixels), await network.explain(pixels));
      if (largest > TOLERANCE) throw new Error(`its numbers differ by ${scientific(largest)}`);
    } catch (error) {
      other.close();
      throw error;
    }
    network.close();
    network = other;
    await explain(async () => ({ pixels, width: description.width, height: description.height }));
  } catch (error) {
    at("provider").value = network.provider;
    showMessage(`It stays on ${network.provider === "wasm" ? "WebAssembly" : "WebGPU"}: ${error.message}.`);
  }
  at("provider").disabled = false;
}

const offersWebGPU = "gpu" in navigator && "Suspending" in WebAssembly;

// The start

function fillSamples() {
  let group = null;
  for (const sample of description.samples) {
    if (sample.group !== group) {
      group = sample.group;
      at("samples").append(Object.assign(document.createElement("span"), { className: "between", textContent: group }));
    }
    const button = document.createElement("button");
    Object.assign(button, { type: "button", title: sample.title });
    button.dataset.file = sample.file;
    button.setAttribute("aria-pressed", "false");
    button.append(Object.assign(document.createElement("img"), { src: sample.file, alt: sample.title, width: 42, height: 42 }));
    button.addEventListener("click", () => explainSample(sample));
    at("samples").append(button);
  }
}

function listen() {
  at("file").accept = ACCEPTED;
  at("file").addEventListener("change", ({ target }) => {
    if (target.files.length) explainFile(target.files[0]);
    target.value = ""; // the same file may be chosen again
  });
  at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  at("camera").addEventListener("click", openCamera);
  at("dialog").addEventListener("close", closeCamera);
  at("cancel").addEventListener("click", () => at("dialog").close());
  at("shoot").addEventListener("click", shoot);

  at("classes").addEventListener("pointerleave", () => explanation && shown !== chosen && show(chosen));
  at("strength").addEventListener("input", () => explanation && addPixels(Number(at("added").value)));
  at("added").addEventListener("input", ({ target }) => {
    stopAdding();
    if (explanation) addPixels(Number(target.value));
  });
  at("play").addEventListener("click", () => explanation && play());
  at("provider").addEventListener("change", ({ target }) => change(target.value));

  addEventListener("dragover", (event) => {
    event.preventDefault();
    at("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && (at("drop").hidden = true));
  addEventListener("drop", (event) => {
    event.preventDefault();
    at("drop").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) explainFile(file);
    else showMessage("That was no file. Please drop an image file.");
  });
  addEventListener("paste", (event) => event.clipboardData.files.length && explainFile(event.clipboardData.files[0]));
}

function drawBar() {
  const rgba = new Uint8ClampedArray(description.colours.flatMap((colour) => [...colour, 255]));
  at("bar").getContext("2d").putImageData(new ImageData(rgba, description.colours.length, 1), 0, 0);
}

async function start() {
  try {
    const response = await fetch("demo.json");
    if (!response.ok) throw new Error("demo.json is not there. This folder has the page's sources; scripts/demo.py builds it.");
    description = await response.json();
    drawBar();
    loading = Network.open(description, "wasm").then((opened) => (network = opened));
    fillSamples();
    listen();
    await loading;
  } catch (error) {
    at("status").textContent = "The network is not loaded.";
    return showMessage(`The network could not be loaded: ${error.message}`);
  }
  // Unless another image was asked for meanwhile.
  if (turn === 0) await explainSample(description.samples[0]);
  at("device").hidden = !offersWebGPU;
  // Without it the page works, but not offline.
  navigator.serviceWorker?.register("service-worker.js", { updateViaCache: "none" }).catch(() => {});
}

start();
