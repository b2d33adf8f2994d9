// The page: what its controls do, and what they show.

import { Loop, microphone, wav } from "./live.js";
import { drawCodes, drawLevels, drawSpectrum } from "./pictures.js";
import { BlindTest, Players } from "./players.js";
import { Problem, call } from "./service.js";

const $ = (id) => document.getElementById(id);
const LEVELS = 120;
const TOO_LATE_SECONDS = 1; // of delay beyond the look-ahead

let models = [];
let given = null; // the recording to encode: { name, blob, buffer }
let coded = null; // what is shown: { recording, dacz, sound, codes, buffer }
let work = null; // AbortController of the requests that are running

const players = new Players(show);
const test = new BlindTest();

// Errors and status

function complain(error) {
  if (error?.name === "AbortError") return;
  const box = $("alert");
  box.replaceChildren(Object.assign(document.createElement("strong"), { textContent: sentence(error.message || String(error)) }));
  if (error instanceof Problem && error.remedy) box.append(sentence(error.remedy));
  box.hidden = false;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function say(text) {
  $("status").textContent = text;
}

// Models

async function loadModels() {
  ({ models } = await (await call("v1/models")).json());
  $("model").replaceChildren(...models.map((m) => new Option(m.name, m.name)));
  $("model-field").hidden = models.length < 2;
  showModel();
}

function model() {
  return models.find((m) => m.name === $("model").value) ?? models[0];
}

function showModel() {
  const m = model();
  $("model-facts").textContent = `Model ${m.name}: ${m.sampling_rate / 1000} kHz, ${m.n_codebooks} codebooks of ${m.codebook_size} codes`;
  for (const id of ["codebooks", "live-codebooks"]) {
    $(id).max = m.n_codebooks;
    $(id).value = m.n_codebooks;
    showCodebooks(id);
  }
}

function showCodebooks(id) {
  const n = Number($(id).value);
  const text = `${n} of ${$(id).max}: ${(n * (model()?.kbps_per_codebook ?? 0)).toFixed(2)} kbit/s per channel`;
  $(`${id}-out`).textContent = text;
  $(id).setAttribute("aria-valuetext", text);
}

// A recording

async function take(blob, name) {
  $("alert").hidden = true;
  given = { blob, name, buffer: null };
  leaveTest();
  await code();
}

// Encodes and decodes the recording with as many codebooks as the slider says. A newer call cancels an older one.
async function code() {
  if (!given) return;
  work?.abort();
  const { signal } = (work = new AbortController());
  const recording = given;
  try {
    say("Encoding…");
    const query = { n_quantizers: $("codebooks").value, model: model()?.name };
    const response = await call("v1/encode", query, recording.blob, signal);
    const rate = Number(response.headers.get("Dacodec-Sampling-Rate"));
    const warning = response.headers.get("Dacodec-Warning");
    const dacz = await response.blob();
    say("Decoding…");
    const [sound, codes] = await Promise.all([
      call("v1/decode", {}, dacz, signal).then((r) => r.blob()),
      call("v1/decode", { format: "json" }, dacz, signal).then((r) => r.json()),
    ]);
    const context = players.open(rate);
    if (!recording.buffer || recording.buffer.sampleRate !== context.sampleRate) recording.buffer = await decoded(context, recording.blob);
    const buffer = await context.decodeAudioData(await sound.arrayBuffer());
    if (signal.aborted) return;
    coded = { recording, dacz, sound, codes, buffer };
    $("result").hidden = false;
    clearTest();
    players.load("a", recording.buffer);
    players.load("b", buffer);
    showResult();
    const notes = [!recording.buffer && "This browser cannot play the original, only the decoded version.", warning && `Warning: ${warning}`];
    say(["Done.", ...notes.filter(Boolean)].join(" "));
  } catch (error) {
    if (signal.aborted) return;
    given = coded?.recording ?? null; // what is shown stays, and the slider applies to it
    say("");
    complain(error);
  }
}

// The original as the browser decodes it; null if it cannot.
async function decoded(context, blob) {
  try {
    return await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    return null;
  }
}

function showResult() {
  const { recording, dacz, sound, codes } = coded;
  const seconds = codes.n_samples / codes.sampling_rate;
  const bits = Math.ceil(Math.log2(codes.codebook_size)) * codes.n_codebooks * codes.channels * codes.n_frames;
  const kbps = (n) => `${((8 * n) / seconds / 1000).toFixed(2)} kbit/s`;
  $("name").textContent = recording.name;
  $("fact-file").textContent = `${size(dacz.size)}, ${kbps(dacz.size)}`;
  $("fact-original").textContent = `${size(recording.blob.size)}, ${(recording.blob.size / dacz.size).toPrecision(2)} times as large`;
  $("fact-codes").textContent = `${size(bits / 8)}, ${kbps(bits / 8)}`;
  $("fact-saving").textContent = `${(100 * (1 - (8 * dacz.size) / bits)).toFixed(1)} %, headers included`;
  $("fact-recording").textContent = `${seconds.toFixed(2)} s, ${codes.sampling_rate} Hz, ${codes.channels} channel${codes.channels > 1 ? "s" : ""}`;
  const stem = recording.name.replace(/\.[^.]*$/, "") || "recording";
  offer("get-dacz", dacz, `${stem}.dacz`);
  offer("get-wav", sound, `${stem}.decoded.wav`);
  offer("get-json", new Blob([JSON.stringify(codes)], { type: "application/json" }), `${stem}.codes.json`);
  const original = $("versions").querySelector("[value=a]");
  original.disabled = !recording.buffer;
  if (original.disabled) players.hear("b");
  draw();
  show();
}

function draw() {
  if (!coded || $("result").hidden || $("panel-file").hidden) return;
  const { buffer: original } = coded.recording;
  $("figure-a").hidden = !original;
  const loudest = original ? drawSpectrum($("spectrum-a"), original) : undefined;
  drawSpectrum($("spectrum-b"), coded.buffer, loudest);
  drawCodes($("codes"), coded.codes.codes, coded.codes.codebook_size);
}

function size(bytes) {
  return bytes < 10000 ? `${Math.round(bytes)} bytes` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}

function offer(id, blob, name) {
  URL.revokeObjectURL($(id).href);
  $(id).href = URL.createObjectURL(blob);
  $(id).download = name;
}

// Players

function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

function show() {
  $("play").classList.toggle("playing", players.playing);
  $("play").setAttribute("aria-label", players.playing ? "Pause" : "Play");
  $("seek").max = players.duration.toFixed(2);
  for (const radio of $("versions").querySelectorAll("input")) radio.checked = !test.running && radio.value === players.heard;
  showPosition();
  if (players.playing) requestAnimationFrame(follow);
}

function follow() {
  showPosition();
  if (players.playing) requestAnimationFrame(follow);
}

function showPosition() {
  const now = players.now, text = `${clock(now)} / ${clock(players.duration)}`;
  if ($("time").textContent !== text) $("time").textContent = text;
  if (document.activeElement !== $("seek") || players.playing) $("seek").value = now.toFixed(2);
  $("seek").setAttribute("aria-valuetext", `${now.toFixed(1)} seconds`);
  const part = players.duration ? now / players.duration : 0;
  for (const head of document.querySelectorAll(".playhead")) head.style.left = `calc(${100 * part}% - ${2 * part}px)`;
}

function choose(name) {
  if (name === "a" && !coded?.recording.buffer) return;
  leaveTest();
  players.hear(name);
}

// Blind test

function showTest() {
  const { running } = test;
  $("abx-start").textContent = running ? "End" : "Start";
  for (const id of ["abx-a", "abx-b"]) $(id).disabled = !running;
  for (const radio of $("abx-versions").querySelectorAll("input")) {
    radio.disabled = !running;
    if (!running) radio.checked = false;
  }
}

function hearInTest(name) {
  $("abx-versions").querySelector(`[value=${name}]`).checked = true;
  players.hear(name === "x" ? test.x : name);
}

function startTest() {
  if (test.running) return leaveTest();
  if (!coded.recording.buffer) return complain(new Error("The blind test needs an original that this browser can play."));
  clearTest();
  test.draw();
  showTest();
  hearInTest("x");
  players.play();
}

// Answers about other audio do not count.
function clearTest() {
  leaveTest();
  test.reset();
  $("abx-tally").textContent = "No answers yet.";
}

function leaveTest() {
  if (!test.running) return;
  test.running = false;
  showTest();
  players.hear("a");
}

function answer(name) {
  const wasRight = test.answer(name);
  const chance = test.chance < 0.001 ? "less than 0.1 %" : `${(100 * test.chance).toFixed(1)} %`;
  $("abx-tally").textContent = `${wasRight ? "Right" : "Wrong"}. ${test.right} of ${test.answers} right. Guessing would do at least as well ${chance} of the time.`;
  hearInTest("x");
}

// Recording

let recording = null;

async function record() {
  if (recording) {
    const { close, blocks, context } = recording;
    recording = null;
    showRecording();
    close();
    const rate = context.sampleRate;
    context.close();
    if (blocks.length) await take(wav(blocks, rate), "recording.wav");
    return;
  }
  const context = new AudioContext(), blocks = [];
  $("record").disabled = true; // until the microphone is open
  try {
    const close = await microphone(context, (block) => {
      blocks.push(block);
      say(`Recording, ${(blocks.length / 100).toFixed(1)} s…`);
    });
    recording = { context, blocks, close };
  } catch (error) {
    context.close();
    complain(new Problem("The microphone cannot be used.", error.message, "microphone"));
  }
  $("record").disabled = false;
  showRecording();
}

function showRecording() {
  $("record").setAttribute("aria-pressed", String(Boolean(recording)));
  $("record").textContent = recording ? "Stop recording" : "Record";
}

// Live

let loop = null;
let above = [], below = [];

async function live() {
  if (loop) return endLive("Stopped.");
  $("alert").hidden = true;
  above = new Array(LEVELS).fill(0);
  below = new Array(LEVELS).fill(0);
  loop = new Loop(showLive, (problem) => {
    endLive("");
    complain(problem);
  });
  $("live-start").setAttribute("aria-pressed", "true");
  $("live-start").textContent = "Stop";
  $("live-status").textContent = "Speak into the microphone.";
  const started = loop;
  try {
    await loop.start({ codebooks: $("live-codebooks").value, lookahead: $("live-lookahead").value, muted: $("live-mute").checked });
  } catch (error) {
    if (loop !== started) return; // stopped meanwhile
    endLive("");
    complain(new Problem("The microphone cannot be used.", error.message, "microphone"));
  }
}

function endLive(text) {
  loop?.stop();
  loop = null;
  $("live-start").setAttribute("aria-pressed", "false");
  $("live-start").textContent = "Start";
  $("live-status").textContent = text;
}

function showLive(facts) {
  $("live-latency").textContent = facts.latency === null ? "–" : `${Math.round(1000 * facts.latency)} ms`;
  $("live-lookahead-out").textContent = `${Math.round(1000 * facts.lookahead)} ms`;
  $("live-rate").textContent = facts.kbps ? `${facts.kbps.toFixed(2)} kbit/s` : "–";
  $("live-gaps").textContent = facts.gaps;
  const behind = facts.latency - facts.lookahead > TOO_LATE_SECONDS;
  const status = behind ? "The server cannot keep up: it is too busy, or too slow for this model." : "Speak into the microphone.";
  if ($("live-status").textContent !== status) $("live-status").textContent = status;
  above = [...above.slice(1), facts.above];
  below = [...below.slice(1), facts.below];
  drawLevels($("live-level"), above, below);
}

// Tabs

const tabs = [$("tab-file"), $("tab-live")];

function openTab(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (tab.id !== "tab-live" && loop) endLive("Stopped.");
  if (tab.id !== "tab-file") players.stop();
  else draw();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const next = tabs[1 - tabs.indexOf(tab)];
    openTab(next);
    next.focus();
  });
}

// Events

$("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) take(target.files[0], target.files[0].name);
  target.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) take(file, file.name);
});
$("record").addEventListener("click", record);
$("example").addEventListener("click", async () => {
  try {
    take(await (await call("static/example.flac")).blob(), "example.flac");
  } catch (error) {
    complain(error);
  }
});
$("codebooks").addEventListener("input", () => showCodebooks("codebooks"));
$("codebooks").addEventListener("change", code);
$("model").addEventListener("change", () => {
  showModel();
  code();
});
$("play").addEventListener("click", () => players.toggle());
$("seek").addEventListener("input", ({ target }) => players.seek(Number(target.value)));
$("loop").addEventListener("change", ({ target }) => players.setLoop(target.checked));
$("versions").addEventListener("change", ({ target }) => choose(target.value));
$("pictures").addEventListener("click", (event) => {
  if (!(event.target instanceof HTMLCanvasElement)) return;
  const box = event.target.getBoundingClientRect();
  players.seek((players.duration * (event.clientX - box.left)) / box.width);
});
$("abx-start").addEventListener("click", startTest);
$("abx-a").addEventListener("click", () => answer("a"));
$("abx-b").addEventListener("click", () => answer("b"));
$("abx-versions").addEventListener("change", ({ target }) => hearInTest(target.value));
$("live-start").addEventListener("click", live);
$("live-mute").addEventListener("change", ({ target }) => loop?.mute(target.checked));
$("live-codebooks").addEventListener("input", () => showCodebooks("live-codebooks"));
for (const id of ["live-codebooks", "live-lookahead"]) {
  $(id).addEventListener("change", async () => {
    if (!loop) return;
    endLive("");
    await live();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("result").hidden || $("panel-file").hidden) return;
  if (event.target.matches("input, select, button, a, dialog *") && !(event.target.matches("input[type=radio]") && !event.key.startsWith("Arrow"))) {
    if (event.key.length > 1 || event.key === " ") return; // the control handles these
    if (event.target.matches("input[type=password]")) return;
  }
  const key = event.key.toLowerCase();
  const step = { arrowleft: -1, arrowright: 1 }[key];
  if (key === " ") players.toggle();
  else if (key === "a" || key === "b") test.running ? hearInTest(key) : choose(key);
  else if (key === "x" && test.running) hearInTest("x");
  else if (key === "s" && !test.running) choose(players.heard === "a" ? "b" : "a");
  else if (step) players.seek(players.now + step);
  else return;
  event.preventDefault();
});

let redraw = 0;
new ResizeObserver(() => {
  clearTimeout(redraw);
  redraw = setTimeout(() => {
    draw();
    showPosition();
  }, 150);
}).observe($("pictures"));

showTest();
loadModels().catch(complain);
