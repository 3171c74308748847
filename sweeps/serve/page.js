"use strict";
// A drawing is a list of strokes, each a list of points in a square of side 1, so that it can be undone and shown in
// the page's colours, and sent as MNIST has it: light on dark.

const SIDE = 560;
const PEN = 0.09; // as wide as MNIST's lines, where the digit is three quarters of the square high
const KEY_STEP = 0.03;
const LIVE_MS = 120; // between two answers while a line is being drawn

const $ = (id) => document.getElementById(id);
const pad = $("pad");
const strokes = [];
let photo = null; // the picture that was given instead of a drawing, to be shown again when colours change
let pointer = null; // the one that draws; a second finger or a palm is let go by
const keyPen = { x: 0.5, y: 0.3, shown: false, stroke: null };
let limits = { max_bytes: 0, side: 28 };

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function paint(context, side, ink, all) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = PEN * side;
  context.strokeStyle = ink;
  for (const stroke of all) {
    context.beginPath();
    context.moveTo(stroke[0].x * side, stroke[0].y * side);
    for (let i = 1; i < stroke.length - 1; i++) {
      // Through the middles between points: a curve, and no corners where the pointer was sampled.
      const [here, next] = [stroke[i], stroke[i + 1]];
      context.quadraticCurveTo(here.x * side, here.y * side, ((here.x + next.x) / 2) * side, ((here.y + next.y) / 2) * side);
    }
    const last = stroke[stroke.length - 1];
    context.lineTo(last.x * side + 0.01, last.y * side); // a tap is a dot
    context.stroke();
  }
}

function show() {
  const context = pad.getContext("2d");
  context.clearRect(0, 0, SIDE, SIDE);
  if (photo) {
    const scale = Math.min(SIDE / photo.width, SIDE / photo.height);
    const [width, height] = [photo.width * scale, photo.height * scale];
    context.imageSmoothingEnabled = scale < 4;
    context.drawImage(photo, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
  }
  paint(context, SIDE, colour("--ink"), strokes);
  if (keyPen.shown) {
    context.beginPath();
    context.arc(keyPen.x * SIDE, keyPen.y * SIDE, (PEN * SIDE) / 2, 0, 7);
    context.lineWidth = 4;
    context.strokeStyle = colour("--accent");
    context.stroke();
  }
  document.body.classList.toggle("drawn", Boolean(strokes.length || photo || keyPen.shown));
  $("undo").disabled = !strokes.length;
  $("clear").disabled = !strokes.length && !photo;
}

// --- drawing

function place(event) {
  const box = pad.getBoundingClientRect();
  const within = (value) => Math.min(1, Math.max(0, value));
  return { x: within((event.clientX - box.left) / box.width), y: within((event.clientY - box.top) / box.height) };
}

function begin(point) {
  photo = null;
  const stroke = [point];
  strokes.push(stroke);
  return stroke;
}

pad.addEventListener("pointerdown", (event) => {
  if (pointer || (event.pointerType === "mouse" && event.button !== 0)) return;
  pad.setPointerCapture(event.pointerId);
  liftKeyPen();
  pointer = { id: event.pointerId, stroke: begin(place(event)) };
  changed();
});

pad.addEventListener("pointermove", (event) => {
  if (!pointer || event.pointerId !== pointer.id) return;
  const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const each of all.length ? all : [event]) pointer.stroke.push(place(each));
  changed();
});

for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, (event) => {
    if (pointer && event.pointerId === pointer.id) pointer = null;
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function liftKeyPen() {
  keyPen.shown = false;
  keyPen.stroke = null;
}

pad.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in ARROWS) {
    const [dx, dy] = ARROWS[event.key];
    keyPen.shown = true;
    keyPen.x = Math.min(1, Math.max(0, keyPen.x + dx * KEY_STEP));
    keyPen.y = Math.min(1, Math.max(0, keyPen.y + dy * KEY_STEP));
    if (keyPen.stroke) keyPen.stroke.push({ x: keyPen.x, y: keyPen.y });
    keyPen.stroke ? changed() : show();
  } else if (event.key === " ") {
    keyPen.shown = true;
    keyPen.stroke = keyPen.stroke ? null : begin({ x: keyPen.x, y: keyPen.y });
    changed();
  } else if (event.key === "Backspace" || event.key === "Delete") {
    undo();
  } else if (event.key === "Escape") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
});

pad.addEventListener("blur", () => {
  liftKeyPen();
  show();
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z") {
    event.preventDefault();
    undo();
  }
});

function undo() {
  keyPen.stroke = null;
  if (pointer) return;
  strokes.pop();
  changed();
}

function clear() {
  keyPen.stroke = null;
  strokes.length = 0;
  photo = null;
  changed();
}

$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);

// --- asking

let wanted = null; // the next picture to ask about, and how it is made; only the newest counts
let asking = false;
let serial = 0; // of the newest change: an answer to an older one is not shown over an empty page

function changed() {
  serial += 1;
  complain("");
  show();
  if (!strokes.length) {
    wanted = null;
    if (!photo) forget();
    return;
  }
  wanted = { make: sheet, isPhoto: false };
  ask();
}

function sheet() {
  const made = document.createElement("canvas");
  made.width = made.height = SIDE / 2;
  const context = made.getContext("2d");
  context.fillRect(0, 0, made.width, made.height);
  paint(context, made.width, "white", strokes);
  return new Promise((done) => made.toBlob(done, "image/png"));
}

async function ask() {
  if (asking) return;
  asking = true;
  while (wanted) {
    const [{ make, isPhoto }, mine] = [wanted, serial];
    wanted = null;
    try {
      const picture = await make();
      const answer = await fetch("/predict", { method: "POST", body: picture, headers: { "Content-Type": picture.type } });
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      if (mine === serial || wanted) tell(said, isPhoto);
    } catch (error) {
      if (mine === serial) {
        forget();
        complain(error instanceof TypeError ? "the server does not answer; start it again with `serve`." : error.message);
      }
    }
    await new Promise((done) => setTimeout(done, LIVE_MS));
  }
  asking = false;
}

function complain(message) {
  $("error").hidden = !message;
  $("error").textContent = message && message[0].toUpperCase() + message.slice(1);
}

async function take(file) {
  if (!file) return;
  strokes.length = 0;
  photo = null;
  liftKeyPen();
  wanted = null;
  serial += 1;
  const mine = serial;
  show();
  forget();
  complain("");
  if (!["image/png", "image/jpeg"].includes(file.type)) {
    complain("a picture must be a PNG or a JPEG; save it as one of these.");
    return;
  }
  if (limits.max_bytes && file.size > limits.max_bytes) {
    complain(`a picture must have at most ${limits.max_bytes / 2 ** 20} MB; scale it down.`);
    return;
  }
  const shown = await createImageBitmap(file).catch(() => null);
  if (mine !== serial) return;
  photo = shown;
  show();
  wanted = { make: async () => file, isPhoto: true };
  ask();
}

$("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = ""; // the same file can be chosen again
});

let depth = 0; // of elements that a dragged file is over
const over = (by) => {
  depth = Math.max(0, depth + by);
  document.body.classList.toggle("over", depth > 0);
};
document.addEventListener("dragenter", () => over(1));
document.addEventListener("dragleave", () => over(-1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over(-depth);
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));

// --- answers

const percent = (p) => (p < 0.001 ? "< 0.1" : p >= 0.9995 ? "100" : (p * 100).toFixed(1)) + " %";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

for (let digit = 0; digit < 10; digit++) {
  const row = element("li");
  const track = element("span", "track");
  track.append(element("div", "fill"));
  row.append(element("span", "", digit), track, element("span", "value", ""));
  $("bars").append(row);
  const head = element("th", "", digit);
  head.scope = "col";
  $("members").tHead.rows[0].append(head);
}

function fill(probs, members) {
  const top = probs && probs.indexOf(Math.max(...probs));
  [...$("bars").children].forEach((row, digit) => {
    row.classList.toggle("top", digit === top);
    row.querySelector(".fill").style.width = probs && probs[digit] >= 0.005 ? `${probs[digit] * 100}%` : "0";
    row.querySelector(".value").textContent = probs ? percent(probs[digit]) : "";
  });
  [...$("members").tBodies[0].rows].forEach((row, index) => {
    [...row.querySelectorAll("td")].forEach((cell, digit) => {
      const p = members ? members[index][digit] : 0;
      cell.style.setProperty("--p", p);
      cell.classList.toggle("middling", p > 0.5); // where the text has to change for its contrast, in the dark
      cell.classList.toggle("strong", p > 0.85); // and in the light
      cell.textContent = p >= 0.005 ? Math.round(p * 100) : "";
      cell.title = members ? percent(p) : "";
    });
  });
  document.body.classList.toggle("empty", !probs);
}

function tell(said, isPhoto) {
  $("digit").textContent = said.digit;
  fill(said.probs, said.members);
  const agree = said.members.filter((probs) => probs.indexOf(Math.max(...probs)) === said.digit).length;
  const sure = element("b", "", percent(said.probs[said.digit]));
  const number = said.members.length;
  const votes = number === 1 ? "One member." : agree === number ? `All ${number} members agree.` : `${agree} of ${number} members agree.`;
  $("sure").replaceChildren(sure, ` sure it is a ${said.digit}.`, element("br"), votes);
  look(Uint8Array.from(atob(said.picture), (c) => c.charCodeAt(0)));
  $("seen").setAttribute("aria-label", `The image of 28 by 28 pixels that was taken for a ${said.digit}`);
  $("note").textContent = isPhoto ? aboutPhoto(said) : NOTE;
}

function aboutPhoto(said) {
  if (said.as_it_was) return "Given as it was: 28 × 28 pixels already, light on dark.";
  const inverted = said.inverted ? "Inverted, as its ground was light; " : "Light on dark already; ";
  return `${inverted}the digit scaled into 20 × 20 pixels, its centre of mass in the middle of 28 × 28, as MNIST’s are.`;
}

const NOTE = $("note").textContent;

function look(pixels) {
  const context = $("seen").getContext("2d");
  const image = context.createImageData(28, 28);
  pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  context.putImageData(image, 0, 0);
}

function forget() {
  $("digit").textContent = "–";
  $("sure").textContent = "Nothing drawn yet.";
  $("note").textContent = NOTE;
  $("seen").setAttribute("aria-label", "The image of 28 by 28 pixels, still empty");
  fill(null, null);
  look(new Uint8Array(784));
}

// --- beginning

async function start() {
  forget();
  show();
  const answer = await fetch("/ensemble");
  const ensemble = (limits = await answer.json());
  document.title = `Draw a digit · ${ensemble.study}`;
  const accuracy = `${(ensemble.test_accuracy * 100).toFixed(2)} % of ${ensemble.test_images.toLocaleString("en")} test images right`;
  $("about").textContent = `Study ${ensemble.study}, ${ensemble.title}: ${accuracy}.`;
  for (const member of ensemble.members) {
    const head = element("th");
    head.scope = "row";
    const share = ensemble.members.length > 1 ? ` · counts ${Math.round(member.weight * 100)} %` : "";
    head.append(element("b", "", `#${String(member.trial).padStart(3, "0")}`), " ", element("span", "", member.label + share));
    const row = element("tr");
    row.append(head);
    for (let digit = 0; digit < 10; digit++) row.append(element("td"));
    $("members").tBodies[0].append(row);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
start().catch(() => complain("the server does not answer; start it again with `serve`."));
