// The network, as an ONNX file run by onnxruntime-web in a worker of its own.

export class Network {
  // `description` is demo.json; `provider` is "wasm" or "webgpu".
  static async open(description, provider) {
    const network = new Network(description, provider);
    const absolute = (path) => new URL(path, document.baseURI).href;
    const runtime = description.runtimes[provider];
    await network.ask("open", {
      model: absolute(description.model),
      runtime: { module: absolute(runtime.module), wasm: absolute(runtime.wasm) },
      provider,
    });
    return network;
  }

  constructor(description, provider) {
    this.description = description;
    this.provider = provider;
    this.waiting = new Map();
    this.asked = 0;
    this.worker = new Worker(new URL("network.worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the worker did not start"));
      this.waiting.clear();
    };
  }

  ask(call, argument) {
    return new Promise((resolve, reject) => {
      const id = this.asked++;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call, argument });
    });
  }

  // What the network makes of `height * width * 3` bytes: logits and probabilities of the classes, the map of each, and
  // how far each sum is from its logit.
  async explain(pixels) {
    const { height, width, classes, bias } = this.description;
    const { outputs, milliseconds } = await this.ask("run", { pixels, shape: [1, height, width, 3] });
    const size = height * width;
    const maps = classes.map((_, k) => outputs.contribution_map.subarray(k * size, (k + 1) * size));
    // In double precision, from the map that is drawn.
    const residuals = maps.map((map, k) => outputs.logits[k] - bias - map.reduce((sum, value) => sum + value, 0));
    return { logits: outputs.logits, probabilities: outputs.probabilities, maps, residuals, milliseconds };
  }

  close() {
    this.worker.terminate();
  }
}

// The largest difference of two explanations, of logits and of maps.
export function difference(a, b) {
  let largest = 0;
  a.logits.forEach((value, k) => {
    largest = Math.max(largest, Math.abs(value - b.logits[k]));
    a.maps[k].forEach((v, i) => (largest = Math.max(largest, Math.abs(v - b.maps[k][i]))));
  });
  // Written so that NaN counts as a difference.
  return Number.isFinite(largest) ? largest : Infinity;
}
