// From the codes of a recording to its audio, piece by piece.

import { Network } from "./network.mjs";
import { Resampler, resampledLength } from "./resampler.mjs";

// As in dacodec: lost frames until silence, and the filter that removes what a decoder invents where codes repeat.
const FADE_FRAMES = 4;
const SOFT = [1, 8, 28, 56, 70, 56, 28, 8, 1].map((n) => n / 256);
const PIECE_FRAMES = 48;
const FIRST_FRAMES = 24; // so that the first sound comes soon

export class Model {
  // `folder` is one of those that scripts/player/build.py makes.
  static async load(folder) {
    const get = async (name, base = folder) => {
      const answer = await fetch(new URL(name, base));
      if (!answer.ok) throw new Error(`${name} could not be fetched (${answer.status})`);
      return new Uint8Array(await answer.arrayBuffer());
    };
    const model = new Model();
    const [code, weights, prior] = await Promise.all([
      get("dacodec.wasm", import.meta.url),
      get("decoder.weights"),
      get("codes.prior").catch(() => null), // not every model has one
    ]);
    model.prior = prior;
    model.network = await Network.load(code, weights);
    return model;
  }
}

// The audio of a recording from `second` on: yields { start, channels: [Float32Array] }, `start` counted in samples.
export async function* decode(recording, { network }, second = 0, nCodebooks = recording.header.nCodebooks) {
  const { samplingRate, modelSamplingRate, hopLength, channels } = recording.header;
  const resampler = new Resampler(modelSamplingRate, samplingRate);
  let given = Math.min(recording.nSamples, Math.floor(second * samplingRate));
  const firstInput = Math.max(0, Math.floor((given * modelSamplingRate) / samplingRate) - resampler.reach - 1);
  const firstFrame = Math.max(0, Math.floor(firstInput / hopLength) - network.head.halo);
  const nModel = resampledLength(recording.nSamples, samplingRate, modelSamplingRate);
  const envelopes = Array.from({ length: channels }, () => new Envelope(hopLength, firstFrame));
  // Audio at the model's rate that is still needed, per channel, from sample `origin` on.
  let origin = firstFrame * hopLength, held = Array.from({ length: channels }, () => new Float32Array(0));
  let last = null; // codes of the last frame pushed
  const states = held.map(() => network.start());
  try {
    for (let frame = firstFrame; given < recording.nSamples; ) {
      const n = Math.min(frame === firstFrame ? FIRST_FRAMES : PIECE_FRAMES, Math.max(1, recording.nFrames - frame));
      await recording.prepare(frame, n);
      const { codes, lost, last: itsLast } = recording.frames(frame, n, nCodebooks, last);
      last = itsLast;
      frame += n;
      for (const one of envelopes) one.add(lost);
      const isEnd = frame >= recording.nFrames, at = origin + held[0].length;
      held = held.map((before, c) => {
        const own = codes.subarray(c * nCodebooks * n, (c + 1) * nCodebooks * n);
        const audio = envelopes[c].apply(network.push(states[c], own, n, isEnd), at);
        return joined(before, audio).subarray(0, nModel - origin);
      });
      const until = origin + held[0].length;
      // An output needs `reach` inputs on both sides, but at the end, which zeros follow.
      const isLast = isEnd || until === nModel;
      const ready = isLast ? recording.nSamples : Math.ceil(((until - resampler.reach) * samplingRate) / modelSamplingRate);
      if (ready > given) {
        const outputs = held.map((some) => resampler.convert(some, origin, given, ready));
        yield { start: given, channels: asGiven(outputs, recording.header) };
        given = ready;
      }
      const needed = Math.floor((given * modelSamplingRate) / samplingRate) - resampler.reach - 1;
      const keep = Math.max(origin, Math.min(needed, until));
      held = held.map((some) => some.slice(keep - origin));
      origin = keep;
    }
  } finally {
    states.forEach((state) => network.release(state));
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

// Fades lost frames of a channel out, through a low-pass filter, and the next ones in, over the boundaries of frames.
class Envelope {
  constructor(hop, firstFrame) {
    this.hop = hop;
    this.gains = new Map(); // of frames whose gain is not 1
    this.next = firstFrame;
    this.last = 1;
    this.past = new Float32Array(SOFT.length - 1);
  }

  add(lost) {
    for (const isLost of lost) {
      this.last = isLost ? Math.max(0, this.last - 1 / FADE_FRAMES) : 1;
      if (this.last < 1) this.gains.set(this.next, this.last);
      this.next++;
    }
  }

  // The next samples, the first of which has the number `at`.
  apply(samples, at) {
    const line = joined(this.past, samples);
    this.past = line.slice(samples.length);
    if (!this.gains.size) return samples;
    const gain = (frame) => this.gains.get(frame) ?? 1;
    const before = (frame) => Math.min(gain(frame - 1), gain(frame)); // at the frame's beginning
    return samples.map((x, i) => {
      const frame = Math.floor((at + i) / this.hop), part = ((at + i) % this.hop) / this.hop;
      const [a, b] = [before(frame), before(frame + 1)];
      if (a === 1 && b === 1) return x;
      const soft = (1 - part) * (a < 1) + part * (b < 1);
      const smooth = SOFT.reduce((sum, weight, j) => sum + weight * line[i + j], 0);
      return ((1 - part) * a + part * b) * ((1 - soft) * x + soft * smooth);
    });
  }
}
