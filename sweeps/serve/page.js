"use strict";
// Asks the server about what pad.js holds, or about a file, and shows the answer.

const LIVE_MS = 120; // between two answers while a line is being drawn

let limits = { max_bytes: 0 };
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

// Nothing is taken for certain.
const percent = (p) => (p < 0.001 ? "<\u00a00.1" : p > 0.999 ? ">\u00a099.9" : (p * 100).toFixed(1)) + "\u00a0%";

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
  const votes = number === 1 ? "One member." : agree === number ? `${number === 2 ? "Both" : `All ${number}`} members agree.` : `${agree} of ${number} members agree.`;
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
    const share = ensemble.members.length > 1 ? ` · counts ${Math.round(member.weight * 100)}\u00a0%` : "";
    head.append(element("b", "", member.name), " ", element("span", "", member.label + share));
    const row = element("tr");
    row.append(head);
    for (let digit = 0; digit < 10; digit++) row.append(element("td"));
    $("members").tBodies[0].append(row);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
start().catch(() => complain("the server does not answer; start it again with `serve`."));
