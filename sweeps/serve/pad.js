"use strict";
// The drawing area. page.js is told of each change by `changed`.
// A drawing is a list of strokes, each a list of points in a square of side 1, so that it can be undone and shown in
// the page's colours, and sent as MNIST has it: light on dark.

const SIDE = 560;
const PEN = 0.09; // as wide as MNIST's lines, where the digit is three quarters of the square high
const KEY_STEP = 0.03;

const $ = (id) => document.getElementById(id);
const pad = $("pad");
const strokes = [];
let photo = null; // the picture that was given instead of a drawing, to be shown again when colours change
let pointer = null; // the one that draws; a second finger or a palm is let go by
const keyPen = { x: 0.5, y: 0.3, shown: false, stroke: null };

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
  if (pointer || !strokes.length) return;
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
