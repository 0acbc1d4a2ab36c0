// The picture and the boxes on it.

// The longer side of the canvas in pixels: names can be read on small pictures, and more no screen shows.
const LEAST = 640;
const MOST = 1600;

// A colour of each class: neighbours differ by the golden angle.
export const hueOf = (label) => `hsl(${(label * 137.508) % 360} 90% 65%)`;

export function drawPicture(canvas, { image, width, height }) {
  const longer = Math.max(width, height);
  const scale = Math.min(MOST, Math.max(LEAST, longer)) / longer;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
}

// Boxes in pixels of the picture; those of low scores lie below the others.
export function drawBoxes(canvas, { width }, objects, classes) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / width;
  const line = Math.max(1, canvas.width / 250);
  const letters = Math.max(10, canvas.width / 35);
  context.font = `600 ${letters}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const { label, score, box } of [...objects].reverse()) {
    const [x1, y1, x2, y2] = box.map((value) => value * scale);
    for (const [colour, thick] of [["#000", 2 * line], [hueOf(label), line]]) { // seen on any ground
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    const text = `${classes[label]} ${Math.round(100 * score)} %`;
    const top = y1 > 1.3 * letters ? y1 - 1.3 * letters : y1;
    context.fillStyle = hueOf(label);
    context.fillRect(x1, top, context.measureText(text).width + letters / 2, 1.3 * letters);
    context.fillStyle = "#000";
    context.fillText(text, x1 + letters / 4, top + letters / 6);
  }
}
