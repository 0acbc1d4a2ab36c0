// The page: pictures in, answers out.

import { startCamera } from "./camera.js";
import { drawBoxes, drawPicture, hueOf } from "./drawing.js";
import { openModel, pictureOf } from "./model.js";

const MOST_CLASSES = 5; // that are listed of a classifier's answer
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

let model; // what page.json says
let answer; // from a picture to an answer
let thresholds = []; // the score of each class from which on it is shown
let shown; // the picture and the answer on the page
let turn = 0; // of the newest picture: an answer to an older one is not shown
let camera; // while it is live

function element(kind, text = "", className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Read out by screen readers; unseen where the page shows the same elsewhere.
function say(sentence, unseen = false) {
  at("status").classList.toggle("unseen", unseen);
  if (at("status").textContent !== sentence) at("status").textContent = sentence;
}

function complain(sentence) {
  at("error").textContent = sentence;
  at("error").hidden = !sentence;
}

// Ask the model of a picture, and show what it says.
async function look(picture) {
  const mine = ++turn;
  const found = await answer(picture);
  if (mine !== turn) return;
  complain("");
  shown = { picture, found };
  show();
}

function show() {
  if (!shown) return;
  const { picture, found } = shown;
  at("result").hidden = false;
  drawPicture(at("picture"), picture);
  if (model.task === "classification") showClasses(found);
  else showObjects(found.objects.filter(({ label, score }) => score > Math.fround(thresholds[label])), picture);
  const [preparing, computing] = [found.preparing, found.computing].map((time) => Math.round(time));
  at("time").textContent = `${preparing + computing} ms on this device: ${preparing} to prepare the image, ${computing} in the network.`;
  if (camera) say("The camera is live."); // each answer would be too much to listen to
  else say(at("summary").textContent, true);
}

function showClasses({ shares, isUnknown }) {
  const best = shares.map((share, label) => ({ share, label })).sort((a, b) => b.share - a.share);
  const named = ({ share, label }) => `${model.classes[label]}, ${percent(share)}`;
  const several = model.thresholds && best.filter(({ share, label }) => share >= Math.fround(model.thresholds[label]));
  const said = several ? several.map(named).join("; ") || "None of the labels" : named(best[0]);
  at("summary").textContent = isUnknown ? `Looks like none of the classes; as if it were ${said}` : said;
  at("picture").ariaLabel = `The image: ${at("summary").textContent}`;
  at("answers").className = "classes";
  at("answers").replaceChildren(
    ...best.slice(0, MOST_CLASSES).map(({ share, label }) => {
      const line = element("li");
      const meter = element("meter");
      meter.value = share;
      meter.ariaHidden = "true"; // the number beside it says the same
      line.append(element("span", model.classes[label], "name"), element("span", percent(share), "number"), meter);
      return line;
    }),
  );
}

function showObjects(objects, picture) {
  const counts = new Map();
  for (const { label } of objects) counts.set(label, (counts.get(label) ?? 0) + 1);
  const listed = [...counts].map(([label, count]) => `${count} × ${model.classes[label]}`).join(", ");
  at("summary").textContent = listed || "Nothing is found.";
  at("picture").ariaLabel = `The image: ${at("summary").textContent}`;
  drawBoxes(at("picture"), picture, objects, model.classes);
  at("answers").replaceChildren(
    ...objects.map(({ label, score, box }) => {
      const line = element("li");
      const [x1, y1, x2, y2] = box.map((value) => value.toFixed(1));
      const mark = element("span", "", "mark");
      mark.style.background = hueOf(label);
      line.append(mark, element("span", model.classes[label], "name"), element("span", percent(score), "number"));
      line.append(element("span", `x ${x1} to ${x2}, y ${y1} to ${y2} pixels`, "place"));
      return line;
    }),
  );
}

async function lookAtFiles(files) {
  const file = [...files][0];
  if (!file || !answer) return;
  stopCamera();
  if (files !== at("file").files) at("file").value = ""; // so that the former file can be chosen again
  say(`${file.name} is being looked at …`);
  let picture;
  try {
    picture = await pictureOf(file);
  } catch {
    say("");
    complain(`${file.name} is no image that this browser can show.`);
    return;
  }
  try {
    await look(picture);
  } catch (error) {
    say("");
    complain(`The model has failed on ${file.name} (${error.message}).`);
  }
}

function stopCamera() {
  camera?.stop();
  camera = undefined;
  at("camera").textContent = "Use the camera";
}

async function toggleCamera() {
  if (camera) {
    stopCamera();
    say("The camera is off.");
    return;
  }
  try {
    const live = await startCamera();
    camera = live;
    at("camera").textContent = "Stop the camera";
    while (camera === live) {
      const picture = await live.next();
      if (camera === live) await look(picture);
    }
  } catch (error) {
    stopCamera();
    complain(`The camera cannot be used (${error.message}).`);
  }
}

function setUpThresholds() {
  thresholds = [...model.thresholds];
  at("class").append(...model.classes.map((name, label) => new Option(name, label)));
  const chosen = () => (at("class").value === "" ? thresholds.map((_, label) => label) : [Number(at("class").value)]);
  const tell = () => {
    const values = chosen().map((label) => thresholds[label]);
    const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => value.toFixed(2));
    at("threshold").value = values[0];
    at("score").textContent = low === high ? low : `${low} to ${high}`;
  };
  at("class").addEventListener("change", tell);
  at("threshold").addEventListener("input", () => {
    for (const label of chosen()) thresholds[label] = at("threshold").valueAsNumber;
    tell();
    show();
  });
  at("reset").addEventListener("click", () => {
    thresholds = [...model.thresholds];
    tell();
    show();
  });
  tell();
  at("thresholds").hidden = false;
}

function describe() {
  document.title = model.name;
  at("name").textContent = model.name;
  for (const [term, text] of model.about) at("about").append(element("dt", term), element("dd", text));
  if (model.task === "detection") setUpThresholds();
}

function listen() {
  at("file").addEventListener("change", () => lookAtFiles(at("file").files));
  document.addEventListener("paste", (event) => lookAtFiles(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser would leave the page for the file
    at("choose").classList.add("over");
  });
  document.addEventListener("dragleave", () => at("choose").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("choose").classList.remove("over");
    lookAtFiles(event.dataTransfer.files);
  });
  at("camera").addEventListener("click", toggleCamera);
  at("file").disabled = false;
  at("camera").disabled = false;
  if (!navigator.mediaDevices) {
    at("camera").disabled = true; // browsers lend it to pages of https and of this machine alone
    at("also").textContent += " The camera needs a page that comes by https.";
  }
}

try {
  ({ model, answer } = await openModel());
  describe();
  listen();
  say("The model is ready.");
} catch (error) {
  say("");
  complain(`The model cannot be loaded: ${error.message}.`);
}
