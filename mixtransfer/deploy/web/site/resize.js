// Resampling as Pillow and OpenCV have it: a canvas' own would show the network something else than it saw in training.
//
// An image is {data, width, height} with four values a pixel, 0 to 255, as ImageData has them; the fourth is ignored.
// A filter is {taps, rounded}. taps(input, output, i) gives of output pixel i, on an axis of so many pixels, the first
// input pixel and the weights from there on; rounded says whether the rows are rounded before the columns are computed.

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

// Reach in pixels, and the weight at a distance.
const KERNELS = {
  bilinear: [1, (x) => Math.max(0, 1 - x)],
  bicubic: [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0)],
  lanczos: [3, (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

// Where an axis shrinks the kernel becomes wider, so that every input pixel counts.
function antialiased([reach, kernel]) {
  return (input, output, i) => {
    const scale = input / output;
    const stretch = Math.max(scale, 1);
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const stop = Math.min(input, Math.trunc(centre + reach * stretch + 0.5));
    const weights = [];
    for (let x = start; x < stop; x++) weights.push(kernel(Math.abs(x + 0.5 - centre) / stretch));
    return [start, normalised(weights)];
  };
}

// The share of each pixel between two places.
function covered(from, to) {
  const start = Math.floor(from);
  const weights = [];
  for (let x = start; x < to - 1e-6; x++) weights.push(Math.min(x + 1, to) - Math.max(x, from));
  return [start, normalised(weights)];
}

function normalised(weights) {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

// Summed up as Pillow does it: where a place falls between two pixels, rounding decides.
function nearest(input, output, i) {
  const step = input / output;
  let place = 0.5 * step;
  for (let k = 0; k < i; k++) place += step;
  return [Math.min(Math.floor(place), input - 1), [1]];
}

function linear(input, output, i) {
  const place = Math.min(Math.max(((i + 0.5) * input) / output - 0.5, 0), input - 1);
  const start = Math.floor(place);
  return [start, start === place ? [1] : [1 - (place - start), place - start]];
}

// Pillow's, by the names that a description of a model has.
export const PILLOW = Object.fromEntries(
  Object.entries(KERNELS).map(([name, kernel]) => [name, { taps: antialiased(kernel), rounded: true }]),
);
PILLOW.nearest = { taps: nearest, rounded: true };

// OpenCV's INTER_AREA and INTER_LINEAR.
const AREA = {
  taps: (input, output, i) => covered((i * input) / output, Math.min(input, ((i + 1) * input) / output)),
  rounded: false,
};
const LINEAR = { taps: linear, rounded: false };

// The image at another size; of it only a window {left, top, width, height}, if one is given.
export function resize(image, width, height, filter, window = { left: 0, top: 0, width, height }) {
  const columns = axis(filter, image.width, width, window.left, window.width);
  const rows = axis(filter, image.height, height, window.top, window.height);
  const [first] = rows[0];
  const [start, weights] = rows[rows.length - 1];
  const between = new (filter.rounded ? Uint8ClampedArray : Float32Array)(
    4 * window.width * (start + weights.length - first),
  );
  for (let y = first, at = 0; y < start + weights.length; y++) {
    for (const column of columns) at = combine(image.data, 4 * (y * image.width + column[0]), 4, column[1], between, at);
  }
  const data = new Uint8ClampedArray(4 * window.width * window.height);
  let at = 0;
  for (const [top, shares] of rows) {
    for (let x = 0; x < window.width; x++) {
      at = combine(between, 4 * ((top - first) * window.width + x), 4 * window.width, shares, data, at);
    }
  }
  return { data, width: window.width, height: window.height };
}

// As in Pillow and, of averages of four, in OpenCV; an array of bytes would round them to the even number.
const HALVES_GO_UP = 1e-6;

function axis(filter, input, output, from, count) {
  return Array.from({ length: count }, (_, i) => filter.taps(input, output, from + i));
}

// One pixel of the result, and the place of the next.
function combine(source, from, step, weights, target, to) {
  let red = HALVES_GO_UP;
  let green = HALVES_GO_UP;
  let blue = HALVES_GO_UP;
  for (let i = 0; i < weights.length; i++, from += step) {
    red += weights[i] * source[from];
    green += weights[i] * source[from + 1];
    blue += weights[i] * source[from + 2];
  }
  target[to] = red;
  target[to + 1] = green;
  target[to + 2] = blue;
  return to + 4;
}

// Averages of blocks, as Pillow's reduce rounds them: what is left at the right and below are smaller blocks.
export function reduce(image, factor) {
  if (factor <= 1) return image;
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / factor));
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0, to = 0; y < height; y++) {
    const bottom = Math.min(image.height, (y + 1) * factor);
    for (let x = 0; x < width; x++, to += 4) {
      const right = Math.min(image.width, (x + 1) * factor);
      const count = (right - x * factor) * (bottom - y * factor);
      const share = Math.floor(2 ** 24 / count);
      for (let channel = 0; channel < 3; channel++) {
        let sum = count >> 1;
        for (let row = y * factor; row < bottom; row++) {
          const end = 4 * (row * image.width + right);
          for (let at = 4 * (row * image.width + x * factor) + channel; at < end; at += 4) sum += image.data[at];
        }
        data[to + channel] = Math.floor((sum * share) / 2 ** 24);
      }
    }
  }
  return { data, width, height };
}

// As detectors see it: what shrinks is averaged over areas, what grows is interpolated.
export function warp(image, width, height) {
  const [narrow, low] = [Math.min(width, image.width), Math.min(height, image.height)];
  const shrunk = resize(image, narrow, low, AREA);
  return narrow === width && low === height ? shrunk : resize(shrunk, width, height, LINEAR);
}
