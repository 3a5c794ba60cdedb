// Runs the network off the page's thread: `open` loads it, `run` gives the outputs for one image of bytes.

let session, ort, input;

const answers = {
  async open({ model, runtime, provider }) {
    ort = await import(runtime.module);
    ort.env.logLevel = "error";
    // Threads need headers that plain static servers do not send.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { wasm: runtime.wasm };
    // WebGPU's default, NHWC, gets the first convolution wrong: https://github.com/microsoft/onnxruntime/issues/29651
    const executionProviders = [provider === "webgpu" ? { name: provider, preferredLayout: "NCHW" } : provider];
    session = await ort.InferenceSession.create(model, { executionProviders, logSeverityLevel: 3 });
    input = session.inputMetadata?.[0];
    return { outputs: session.outputNames };
  },

  async run({ pixels, shape }) {
    const start = performance.now();
    const isBytes = input?.type === "uint8";
    const data = isBytes ? pixels : Float32Array.from(pixels, (value) => value / 255);
    const feeds = { [session.inputNames[0]]: new ort.Tensor(isBytes ? "uint8" : "float32", data, shape) };
    const results = await session.run(feeds);
    const outputs = {};
    for (const [name, tensor] of Object.entries(results)) outputs[name] = await tensor.getData();
    return { outputs, milliseconds: performance.now() - start };
  },
};

onmessage = async ({ data: { id, call, argument } }) => {
  try {
    postMessage({ id, result: await answers[call](argument) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
