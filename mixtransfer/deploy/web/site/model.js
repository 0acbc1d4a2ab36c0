// The model: from a picture to an answer. Nothing here touches the page.

import * as ort from "./onnxruntime-web/ort.wasm.bundle.min.js";
import { place, view } from "./view.js";

const MOST_PIXELS = 4096 * 4096; // of a canvas on phones

// Open the model. Gives what page.json says of it, and answer(picture), one at a time.
export async function openModel() {
  const model = await (await fetched("page.json")).json();
  model.fill.push(255);
  ort.env.wasm.wasmPaths = { wasm: new URL("./onnxruntime-web/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  ort.env.wasm.proxy = true; // in a worker, so that the page stays alive
  const bytes = new Uint8Array(await (await fetched("model.onnx")).arrayBuffer());
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  const { size } = model;
  const images = new ort.Tensor("uint8", new Uint8Array(3 * size * size), [1, size, size, 3]);
  await session.run({ images }); // the first time takes longer
  let before = Promise.resolve();
  const answer = (picture) => {
    const after = before.then(() => predict(session, model, picture));
    before = after.catch(() => {}); // one that fails holds up no other
    return after;
  };
  return { model, answer };
}

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} is not there (${response.status})`);
  return response;
}

// A picture from a file, upright, and without regard to colour profiles, as in training.
export async function pictureOf(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  return { image: bitmap, width: bitmap.width, height: bitmap.height, isJpeg: first === 0xff && second === 0xd8 };
}

// Pixels on white, which shows where a picture is transparent.
function pixelsOf({ image, width, height }) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(width * scale));
  canvas.height = Math.max(1, Math.floor(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Of a classifier {shares, isUnknown, preparing, computing}, of a detector {objects, …}; times in milliseconds.
async function predict(session, model, picture) {
  const start = performance.now();
  const images = new ort.Tensor("uint8", view(pixelsOf(picture), model, picture.isJpeg), [1, model.size, model.size, 3]);
  const middle = performance.now();
  const outputs = await session.run({ images });
  const times = { preparing: middle - start, computing: performance.now() - middle };
  if (model.task === "classification") {
    const isUnknown = outputs.known !== undefined && outputs.known.data[0] < model.unknownBelow;
    return { shares: Array.from(outputs.probabilities.data), isUnknown, ...times };
  }
  return { objects: objectsOf(outputs, picture, model), ...times };
}

// All that the network gives, best first: {label, score, box}, a box as x1, y1, x2, y2 in pixels of the picture.
function objectsOf({ boxes, scores, labels }, { width, height }, model) {
  const at = place(width, height, model);
  const back = (value, shift, scale, side) => Math.min(Math.max(((value - shift) * side) / scale, 0), side);
  const objects = [];
  for (let i = 0; i < scores.data.length; i++) {
    const [x1, y1, x2, y2] = boxes.data.subarray(4 * i, 4 * i + 4);
    const box = [
      back(x1, at.left, at.width, width),
      back(y1, at.top, at.height, height),
      back(x2, at.left, at.width, width),
      back(y2, at.top, at.height, height),
    ];
    const isThere = scores.data[i] > 0 && box[2] > box[0] && box[3] > box[1];
    if (isThere) objects.push({ label: Number(labels.data[i]), score: scores.data[i], box });
  }
  return objects;
}
