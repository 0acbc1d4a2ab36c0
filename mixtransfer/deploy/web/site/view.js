// What the network is shown of an image, by the description in page.json; images are as in resize.js.

import { PILLOW, reduce, resize, warp } from "./resize.js";

// Halves go to the even number, as in Python.
function round(x) {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}

// The network's input, uint8 (size, size, 3). A JPEG file is decoded in training at a scale of its own.
export function view(image, model, isJpeg = false) {
  const shown = model.task === "detection" ? detectorsView(image, model) : classifiersView(image, model, isJpeg);
  const pixels = new Uint8Array(3 * model.size * model.size);
  for (let from = 0, to = 0; to < pixels.length; from++) if (from % 4 !== 3) pixels[to++] = shown.data[from];
  return pixels;
}

// Where an image lies in a detector's square: {left, top, width, height} in whole pixels.
export function place(width, height, model) {
  if (model.resize === "warp") return { left: 0, top: 0, width: model.size, height: model.size };
  const scale = model.size / Math.max(width, height);
  const [wide, tall] = [width, height].map((side) => Math.max(1, round(side * scale)));
  return {
    left: Math.floor((model.size - wide) / 2),
    top: Math.floor((model.size - tall) / 2),
    width: wide,
    height: tall,
  };
}

function detectorsView(image, model) {
  const at = place(image.width, image.height, model);
  return pasted(warp(image, at.width, at.height), at.left, at.top, model);
}

function classifiersView(image, model, isJpeg) {
  const { size, shorter } = model;
  image = reduced(image, model.enough, isJpeg);
  const filter = PILLOW[model.interpolation];
  const { width, height } = image;
  if (model.crop === "center") {
    const least = Math.min(width, height);
    const [wide, tall] = [width, height].map((side) => Math.max(shorter, Math.trunc((shorter * side) / least)));
    const [left, top] = [wide, tall].map((side) => round((side - size) / 2));
    return resize(image, wide, tall, filter, { left, top, width: size, height: size });
  }
  let sides = [shorter, shorter];
  if (model.crop === "border") {
    sides = [width, height].map((side) => Math.max(1, round((side * shorter) / Math.max(width, height))));
  }
  // Where a side is longer than the square, its middle is seen; where it is shorter, there is a border.
  const [left, top] = sides.map((side) => (side < size ? Math.floor((size - side) / 2) : -round((side - size) / 2)));
  const [wide, tall] = sides.map((side) => Math.min(side, size));
  const window = { left: Math.max(0, -left), top: Math.max(0, -top), width: wide, height: tall };
  return pasted(resize(image, ...sides, filter, window), Math.max(0, left), Math.max(0, top), model);
}

// A much larger image is made smaller by a whole factor first, JPEG files by a power of two before that.
function reduced(image, enough, isJpeg) {
  const times = () => Math.floor(Math.min(image.width, image.height) / enough);
  if (isJpeg) image = reduce(image, [8, 4, 2, 1].find((factor) => factor <= Math.max(1, times())));
  return reduce(image, times());
}

function pasted(image, left, top, model) {
  const square = new Uint8ClampedArray(4 * model.size * model.size);
  for (let i = 0; i < square.length; i++) square[i] = model.fill[i % 4];
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(4 * y * image.width, 4 * (y + 1) * image.width);
    square.set(row, 4 * ((top + y) * model.size + left));
  }
  return { data: square, width: model.size, height: model.size };
}
