// From the codes of a recording to its audio, piece by piece, by ONNX Runtime: the streaming form of `dacodec export`.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { Resampler, resampledLength } from "./resampler.mjs";

const UNKNOWN = 1n << 40n;
const FADE_FRAMES = 4; // lost frames until silence, as in dacodec
export const PIECE_FRAMES = 48;
const FIRST_FRAMES = 24; // so that the first sound comes soon

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "error";

export class Model {
  // `folder` holds what `dacodec export --streaming` wrote.
  static async load(folder) {
    const get = async (name) => {
      const answer = await fetch(new URL(name, folder));
      if (!answer.ok) throw new Error(`${name} of the model could not be fetched (${answer.status})`);
      return new Uint8Array(await answer.arrayBuffer());
    };
    const model = new Model();
    model.card = JSON.parse(new TextDecoder().decode(await get("report.json"))).model;
    const [network, prior] = await Promise.all([get("decoder_stream.onnx"), get("codes.prior").catch(() => null)]);
    model.prior = prior;
    model.session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
    return model;
  }

  start(rows) {
    return new ort.Tensor("float32", new Float32Array(rows * this.card.decoder_state), [rows, this.card.decoder_state]);
  }

  async push(codes, nCodebooks, state, firstFrame, nFrames) {
    const rows = state.dims[0], n = codes.length / rows / nCodebooks;
    const all = (value) => new ort.Tensor("int64", new BigInt64Array(rows).fill(value), [rows]);
    return this.session.run({
      codes: new ort.Tensor("int64", codes, [rows, nCodebooks, n]),
      state,
      first_frame: all(BigInt(firstFrame)),
      n_frames: all(nFrames),
    });
  }
}

// The audio of a recording from `second` on: yields { start, channels: [Float32Array] }, `start` counted in samples.
export async function* decode(recording, model, second = 0, nCodebooks = recording.header.nCodebooks) {
  const { samplingRate, modelSamplingRate, hopLength, channels } = recording.header;
  const card = model.card, delay = card.decoder_delay_samples;
  const resampler = new Resampler(modelSamplingRate, samplingRate);
  const begin = Math.min(recording.nSamples, Math.floor(second * samplingRate));
  let given = begin;
  const firstInput = Math.max(0, Math.floor((begin * modelSamplingRate) / samplingRate) - resampler.reach - 1);
  const firstFrame = Math.max(0, Math.floor(firstInput / hopLength) - card.decoder_halo_frames);
  // Audio at the model's rate that is still needed, per channel, from sample `origin` on.
  let origin = firstFrame * hopLength, held = Array.from({ length: channels }, () => new Float32Array(0));
  const nModel = resampledLength(recording.nSamples, samplingRate, modelSamplingRate);
  const envelope = new Envelope(hopLength, firstFrame);
  let state = model.start(channels), frame = firstFrame, skip = delay;
  const end = recording.nFrames;
  while (given < recording.nSamples) {
    const n = frame === firstFrame ? FIRST_FRAMES : PIECE_FRAMES;
    const { codes, lost } = recording.frames(frame, n, nCodebooks);
    envelope.add(lost.subarray(0, Math.max(0, Math.min(n, end - frame))));
    const made = await model.push(codes, nCodebooks, state, frame, frame + n >= end ? BigInt(end) : UNKNOWN);
    state = made.next_state;
    frame += n;
    const audio = made.audio.data, length = n * hopLength;
    const from = Math.min(skip, length);
    skip -= from;
    const at = origin + held[0].length;
    held = held.map((before, c) => joined(before, envelope.apply(audio.subarray(c * length + from, (c + 1) * length), at)));
    const until = Math.min(nModel, origin + held[0].length);
    if (held[0].length > until - origin) held = held.map((some) => some.slice(0, until - origin));
    // An output needs `reach` inputs on both sides, but at the end, which zeros follow.
    const isEnd = until === nModel || frame > end + n + card.decoder_flush_frames;
    const ready = isEnd ? recording.nSamples : Math.ceil(((until - resampler.reach) * samplingRate) / modelSamplingRate);
    if (ready > given) {
      const outputs = held.map((some) => resampler.convert(some, origin, given, ready));
      yield { start: given, channels: asGiven(outputs, recording.header) };
      given = ready;
    }
    const needed = Math.floor((given * modelSamplingRate) / samplingRate) - resampler.reach - 1;
    const keep = Math.max(origin, Math.min(needed, origin + held[0].length));
    held = held.map((some) => some.slice(keep - origin));
    origin = keep;
  }
}

function joined(a, b) {
  const sum = new Float32Array(a.length + b.length);
  sum.set(a);
  sum.set(b, a.length);
  return sum;
}

// Left and right instead of middle and side, at the level that was given.
function asGiven(channels, header) {
  if (header.channelCoding === 1) {
    const [middle, side] = channels;
    channels = [middle.map((m, i) => m + side[i]), middle.map((m, i) => m - side[i])];
  }
  return channels.map((some) => some.map((x) => x / header.gain));
}

// Fades lost frames out and the next ones in, over the boundaries of frames.
class Envelope {
  constructor(hop, firstFrame) {
    this.hop = hop;
    this.gains = new Map(); // of frames whose gain is not 1
    this.next = firstFrame;
    this.last = 1;
  }

  add(lost) {
    for (const isLost of lost) {
      this.last = isLost ? Math.max(0, this.last - 1 / FADE_FRAMES) : 1;
      if (this.last < 1) this.gains.set(this.next, this.last);
      this.next++;
    }
  }

  apply(samples, at) {
    if (!this.gains.size) return samples;
    const gain = (frame) => this.gains.get(frame) ?? 1;
    const before = (frame) => Math.min(gain(frame - 1), gain(frame)); // at the frame's beginning
    return samples.map((x, i) => {
      const frame = Math.floor((at + i) / this.hop), part = ((at + i) % this.hop) / this.hop;
      return x * ((1 - part) * before(frame) + part * before(frame + 1));
    });
  }
}
