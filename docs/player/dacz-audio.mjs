// <dacz-audio src="recording.dacz"></dacz-audio>: a player for .dacz files that decodes in the browser.
//
// Everything comes from this module's own folder. A page needs two lines:
//   <script type="module" src="player/dacz-audio.mjs"></script>
//   <dacz-audio src="recording.dacz"></dacz-audio>
// Events: "ready", "ended", "error" (its `detail` is { message, offset }). Methods: play(), pause(), seek(seconds), load(file or address).

import { Playback } from "./playback.mjs";
import { Spectrogram } from "./spectrogram.mjs";

const STYLE = `
:host { display: block; --ground: #fff; --text: #16202a; --soft: #53616e; --line: #d5dbe1; --accent: #0b6b72; --on-accent: #fff;
  --bad: #9b1c1c; --bad-wash: #fdeaea; --focus: #b45309; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { :host { --ground: #182028; --text: #e8edf1; --soft: #a3b0bb; --line: #34404b; --accent: #5cc5cc;
  --on-accent: #06272a; --bad: #ffb4b4; --bad-wash: #451c1f; --focus: #ffc857; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
section { background: var(--ground); color: var(--text); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .9rem; }
button { font: inherit; background: var(--accent); color: var(--on-accent); border: 0; width: 3rem; height: 3rem; border-radius: 50%; padding: 0; cursor: pointer; flex: none; display: grid; place-items: center; }
button:disabled { opacity: .5; cursor: default; }
svg { fill: currentColor; }
.pause, .playing .go { display: none; }
.playing .pause { display: inline; }
input[type="range"] { accent-color: var(--accent); min-width: 0; min-height: 2rem; }
#seek { flex: 1 1 10rem; }
output { font-variant-numeric: tabular-nums; white-space: nowrap; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: .4rem; }
.plot { position: relative; background: #0b0f14; border-radius: .4rem; overflow: hidden; margin: .75rem 0; }
canvas { display: block; width: 100%; height: 9rem; cursor: crosshair; }
.head { position: absolute; inset: 0 auto 0 0; border-left: 2px solid #fff; pointer-events: none; }
label { display: flex; flex-wrap: wrap; flex: 1 1 14rem; gap: .75rem; align-items: center; }
label input { flex: 1 1 6rem; }
dl { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: .75rem 0 0; }
dl div { display: flex; gap: .5rem; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.status { color: var(--soft); margin: .5rem 0 0; min-height: 1.5rem; }
.alert { background: var(--bad-wash); color: var(--bad); border: 1px solid currentColor; border-radius: .6rem; padding: .6rem .9rem; margin: .75rem 0 0; overflow-wrap: anywhere; }
@media (max-width: 44rem) { canvas { height: 6.5rem; } #seek { flex-basis: 55%; } }
`;

const BODY = `
<section>
  <div class="row">
    <button id="play" aria-label="Play" disabled><svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><path class="go" d="M7 4v16l13-8z"/><path class="pause" d="M6 4h4v16H6zm8 0h4v16h-4z"/></svg></button>
    <input type="range" id="seek" min="0" max="0" value="0" step="0.01" aria-label="Position in seconds" disabled>
    <output id="time">0:00.0 / 0:00.0</output>
  </div>
  <div class="plot"><canvas role="img" aria-label="Spectrogram of what was decoded"></canvas><div class="head" aria-hidden="true"></div></div>
  <div class="row"><label>Codebooks <input type="range" id="codebooks" min="1" max="1" value="1" disabled> <output id="codebooks-out"></output></label></div>
  <dl id="facts"></dl>
  <p class="status" role="status"></p>
  <div class="alert" role="alert" hidden></div>
</section>
`;

const SHOWN_DAMAGE = 4; // places

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

class DaczAudio extends HTMLElement {
  static observedAttributes = ["src"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>${STYLE}</style>${BODY}`;
    this.find = (selector) => root.querySelector(selector);
    this.spectrogram = new Spectrogram(this.find("canvas"));
    this.run = 0;
    this.find("#play").onclick = () => (this.isPlaying ? this.pause() : this.play());
    this.find("#seek").oninput = (event) => this.seek(Number(event.target.value));
    this.find("#codebooks").oninput = () => this.chooseCodebooks();
    this.find("canvas").onclick = (event) => this.facts && this.seek((event.offsetX / event.target.clientWidth) * this.facts.seconds);
  }

  attributeChangedCallback(_, before, src) {
    if (src && src !== before) this.load(src);
  }

  disconnectedCallback() {
    this.pause();
    this.worker?.terminate();
    this.worker = this.playback = null;
  }

  // A whole file (Uint8Array or Blob) or its address.
  load(what) {
    this.pause();
    this.playback?.close();
    this.facts = this.playback = null;
    this.isReady = this.isVerified = false;
    this.find(".alert").hidden = true;
    for (const id of ["#play", "#seek", "#codebooks"]) this.find(id).disabled = true;
    this.find("#facts").replaceChildren();
    this.find("#codebooks-out").textContent = "";
    this.spectrogram.clear(1, 0);
    this.position = 0;
    this.show();
    this.worker ??= this.startWorker();
    this.say("Reading");
    if (typeof what !== "string") this.worker.postMessage({ open: new Blob([what]) });
    else if (URL.canParse(what, document.baseURI)) this.worker.postMessage({ open: new URL(what, document.baseURI).href });
    else this.fail({ message: `${what} is not an address`, offset: null });
  }

  startWorker() {
    const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      const [[name, value]] = Object.entries(data);
      this[`on${name}`](value);
    };
    worker.onerror = (event) => this.fail({ message: event.message || "the decoder could not be started", offset: null });
    return worker;
  }

  onopened(facts) {
    this.facts = facts;
    this.find("#seek").max = facts.seconds;
    const slider = this.find("#codebooks");
    slider.max = facts.nCodebooks;
    slider.value = facts.nCodebooks; // after its maximum, which would limit it
    this.position = 0;
    this.spectrogram.clear(facts.nSamples, facts.samplingRate);
    this.showFacts();
    this.showDamage(facts.damage);
    this.show();
    this.say("Loading the model");
  }

  onready() {
    this.isReady = true;
    for (const id of ["#play", "#seek", "#codebooks"]) this.find(id).disabled = false;
    this.say("Ready");
    this.dispatchEvent(new Event("ready"));
  }

  onverified() {
    this.isVerified = true;
  }

  onaudio({ id, start, channels }) {
    if (id !== this.run) return;
    this.spectrogram.add(start, channels);
    this.playback?.push(start, channels);
  }

  onended(id) {
    if (id === this.run) this.playback?.end();
  }

  ondamage(damage) {
    this.showDamage(damage);
  }

  onfailed(problem) {
    this.fail(problem);
  }

  async play() {
    if (!this.isReady || this.isPlaying) return;
    if (this.position >= this.facts.seconds - 0.01) this.position = 0;
    this.playback ??= new Playback(this.facts.samplingRate);
    this.isPlaying = true;
    this.begin();
    this.tick();
  }

  // Decode and play from the position on.
  begin() {
    this.run++;
    this.playback.start(this.position);
    this.worker.postMessage({ play: this.position, nCodebooks: this.nCodebooks, run: this.run });
  }

  pause() {
    if (!this.isPlaying) return;
    this.position = this.playback.now;
    this.isPlaying = false;
    this.run++;
    this.playback.stop();
    this.worker?.postMessage({ stop: true });
    this.show();
  }

  seek(seconds) {
    if (!this.facts) return;
    this.position = Math.max(0, Math.min(seconds, this.facts.seconds));
    if (this.isPlaying) this.begin();
    this.show();
  }

  chooseCodebooks() {
    this.showFacts();
    if (!this.isPlaying) return;
    this.position = this.playback.now;
    this.begin();
  }

  get nCodebooks() {
    return Number(this.find("#codebooks").value);
  }

  // While it plays: where it is, and how far the worker may go.
  tick() {
    if (!this.isPlaying) return;
    this.position = this.playback.now;
    this.worker.postMessage({ ahead: this.position });
    this.say(this.playback.isWaiting ? "Decoding" : "Playing");
    if (this.playback.hasEnded) {
      this.pause();
      this.position = 0;
      this.say("Ended");
      this.dispatchEvent(new Event("ended"));
    }
    this.show();
    setTimeout(() => this.tick(), 50);
  }

  show() {
    const { seconds } = this.facts ?? { seconds: 0 };
    this.find("section").classList.toggle("playing", Boolean(this.isPlaying));
    this.find("#play").setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
    this.find("#seek").value = this.position;
    this.find("#time").textContent = `${clock(this.position)} / ${clock(seconds)}`;
    this.find(".head").style.left = `${seconds ? (100 * this.position) / seconds : 0}%`;
  }

  showFacts() {
    const { seconds, kbps, bytes, model, samplingRate, channels, nCodebooks, codebookKbps, tags } = this.facts;
    const n = this.nCodebooks;
    this.find("#codebooks-out").textContent = `${n} of ${nCodebooks}, ${(n * codebookKbps).toFixed(2)} kbit/s`;
    const rows = [
      ["Length", clock(seconds)],
      ["File", `${kbps.toFixed(2)} kbit/s, ${bytes.toLocaleString("en")} bytes`],
      ["Model", model],
      ["Audio", `${samplingRate.toLocaleString("en")} Hz, ${["mono", "stereo"][channels - 1] ?? `${channels} channels`}`],
      ...tags.map(([key, value]) => [key, value]),
    ];
    const made = rows.map(([name, value]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }));
      row.append(Object.assign(document.createElement("dd"), { textContent: value }));
      return row;
    });
    this.find("#facts").replaceChildren(...made);
  }

  showDamage(damage) {
    if (!damage.length) return;
    const places = damage.slice(0, SHOWN_DAMAGE).map((one) => one.message).join("; ");
    const more = damage.length > SHOWN_DAMAGE ? `; and ${damage.length - SHOWN_DAMAGE} more` : "";
    this.alert(`This file is damaged: ${places}${more}. What can be read is played, and what is lost is faded out.`);
  }

  fail(problem) {
    this.pause();
    this.say("");
    this.alert(`This file cannot be played: ${problem.message}`);
    this.dispatchEvent(new CustomEvent("error", { detail: problem }));
  }

  alert(text) {
    this.find(".alert").textContent = text;
    this.find(".alert").hidden = false;
  }

  say(text) {
    const status = this.find(".status");
    if (status.textContent !== text) status.textContent = text;
  }
}

customElements.define("dacz-audio", DaczAudio);
