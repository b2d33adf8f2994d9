// Reads and decodes recordings away from the page. In: { open: a Blob or an address }, { play: seconds, nCodebooks, run },
// { ahead: seconds }.
// Out: { opened }, { audio }, { ended }, { damage }, { failed }.

import { Model, decode } from "./decoder.mjs";
import { Recording } from "./recording.mjs";
import { blobSource, urlSource } from "./sources.mjs";

const AHEAD_SECONDS = 20; // decoded before they are heard
const models = new Map();
let recording = null;
let model = null;
let newest = 0; // the last that was opened; answers about others are late
let run = 0; // the newest play; older ones end
let heard = 0; // seconds
let known = null; // { fingerprint: folder }

const hex = (bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");

async function modelOf(header) {
  known ??= await (await fetch(new URL("models/models.json", import.meta.url))).json();
  const fingerprint = hex(header.fingerprint);
  if (!(fingerprint in known)) {
    const names = Object.values(known).map((one) => one.name).join(", ");
    throw new Error(`made by the model ${header.modelName}, which this player does not have; it has ${names}`);
  }
  if (!models.has(fingerprint)) {
    models.set(fingerprint, Model.load(new URL(`models/${known[fingerprint].folder}/`, import.meta.url)));
  }
  return models.get(fingerprint);
}

async function open(what, id) {
  recording = model = null;
  run++;
  const opened = await Recording.open(typeof what === "string" ? await urlSource(what) : blobSource(what));
  if (id !== newest) return;
  const { header } = opened;
  const facts = {
    seconds: opened.seconds,
    nSamples: opened.nSamples,
    kbps: opened.kbps,
    bytes: opened.source.size,
    model: header.modelName,
    samplingRate: header.samplingRate,
    channels: header.channels,
    nCodebooks: header.nCodebooks,
    codebookKbps: (header.channels * header.width * header.modelSamplingRate) / header.hopLength / 1000,
    tags: header.tags,
    damage: opened.damage,
  };
  postMessage({ opened: facts });
  const itsModel = await modelOf(header);
  if (id !== newest) return;
  model = itsModel;
  opened.setPrior(model.prior);
  recording = opened;
  postMessage({ ready: true });
  verify(opened);
}

// Reads the codes of all packets, a few at a time, so that what is wrong with them shows. What comes from a server is only
// read where it is played.
async function verify(opened) {
  let told = opened.damage.length;
  const tell = () => {
    if (opened.damage.length > told) postMessage({ damage: opened.damage });
    told = opened.damage.length;
  };
  for (const section of opened.source.isLocal ? opened.sections : []) {
    await opened.load(section);
    for (let i = 0; i < section.packets.length; i++) {
      if (recording !== opened) return;
      opened.codesOf(section.packets[i]);
      if (i % 4 === 3) await new Promise((next) => setTimeout(next));
    }
    tell();
  }
  if (opened.source.isLocal) opened.checkIndex();
  tell();
  postMessage({ verified: true });
}

async function play(seconds, nCodebooks, id) {
  run = id;
  heard = seconds;
  if (!recording) return;
  let told = recording.damage.length;
  for await (const { start, channels } of decode(recording, model, seconds, nCodebooks)) {
    if (run !== id) return;
    if (recording.damage.length > told) postMessage({ damage: recording.damage });
    told = recording.damage.length;
    postMessage({ audio: { id, start, channels } }, channels.map((some) => some.buffer));
    const until = (start + channels[0].length) / recording.header.samplingRate;
    do await new Promise((next) => setTimeout(next, until - heard > AHEAD_SECONDS ? 50 : 0));
    while (run === id && until - heard > AHEAD_SECONDS);
    if (run !== id) return;
  }
  postMessage({ ended: id });
}

const failed = (error) => postMessage({ failed: { message: error.message, offset: error.offset ?? null } });

function openNewest(what) {
  const id = ++newest;
  open(what, id).catch((error) => id === newest && failed(error));
}

onmessage = ({ data }) => {
  if (data.open) openNewest(data.open);
  else if (data.play !== undefined) play(data.play, data.nCodebooks, data.run).catch(failed);
  else if (data.stop) run++;
  else if (data.ahead !== undefined) heard = data.ahead;
};
