// The microphone: recording it, and sending it through the codec to the speakers.

import { stream } from "./service.js";

const CUSHION_SECONDS = 0.06; // buffered before playback: how late the network and the server may be

// Opens the microphone and passes its blocks of 10 ms to `onblock`. Returns a function that closes it.
export async function microphone(context, onblock) {
  if (!navigator.mediaDevices) throw new Error("Browsers allow it only on pages from https or localhost.");
  const media = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
  const source = context.createMediaStreamSource(media);
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  capture.port.onmessage = ({ data }) => onblock(data);
  source.connect(capture);
  return () => {
    source.disconnect();
    for (const track of media.getTracks()) track.stop();
  };
}

// Blocks of one channel as a 16-bit WAV file.
export function wav(blocks, rate) {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, string) => [...string].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(32768 * sample))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

// A loop through the codec. `changed` gets { latency, lookahead, kbps, gaps, above, below } ten times a second.
export class Loop {
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
  }

  async start({ codebooks, lookahead, muted }) {
    this.context = new AudioContext({ latencyHint: "interactive" });
    const rate = this.context.sampleRate;
    this.captured = this.bytes = this.above = 0;
    this.lookahead = {};
    const common = { rate, channels: 1, raw: "f32le", lookahead_ms: lookahead };
    const fail = (problem) => this.failed(problem);
    this.closeMicrophone = await microphone(this.context, (block) => this.push(block));
    if (this.stopped) return this.closeMicrophone();
    this.playback = new AudioWorkletNode(this.context, "playback", {
      numberOfInputs: 0, outputChannelCount: [1], processorOptions: { cushion: Math.round(CUSHION_SECONDS * rate) },
    });
    this.gain = new GainNode(this.context, { gain: muted ? 0 : 1 });
    this.playback.connect(this.gain).connect(this.context.destination);
    this.playback.port.onmessage = ({ data }) => this.heard(data);
    this.decoder = stream("decode", { ...common, input: "codes", n_codebooks: codebooks }, {
      onfacts: (facts) => { if (facts.lookahead_seconds !== undefined) this.lookahead.decoder = facts.lookahead_seconds; },
      ondata: (data) => {
        const samples = new Float32Array(data);
        this.playback.port.postMessage(samples, [samples.buffer]);
      },
      onproblem: fail,
    });
    this.encoder = stream("encode", { ...common, output: "codes", n_quantizers: codebooks }, {
      onfacts: (facts) => {
        if (facts.latency_seconds === undefined) return;
        this.lookahead.encoder = facts.latency_seconds;
        this.kbps = (facts.frames_per_second * facts.n_codebooks * 10) / 1000;
      },
      ondata: (codes) => this.decoder.send(codes),
      onproblem: fail,
    });
    await this.context.resume();
  }

  push(block) {
    this.captured += block.length;
    for (const sample of block) this.above = Math.max(this.above, Math.abs(sample));
    this.encoder?.send(block);
  }

  // As many samples come out as go in, so those still on their way are the delay.
  heard({ played, gaps, peak }) {
    this.below = Math.max(this.below ?? 0, peak);
    const now = performance.now();
    if (now - (this.last ?? 0) < 100) return;
    this.last = now;
    const device = (this.context.outputLatency || 0) + (this.context.baseLatency || 0);
    this.changed({
      latency: played ? (this.captured - played) / this.context.sampleRate + device : null,
      lookahead: (this.lookahead.encoder ?? 0) + (this.lookahead.decoder ?? 0),
      kbps: this.kbps, gaps, above: this.above, below: this.below,
    });
    this.above = this.below = 0;
  }

  mute(muted) {
    if (this.gain) this.gain.gain.value = muted ? 0 : 1;
  }

  stop() {
    this.stopped = true;
    if (this.playback) this.playback.port.onmessage = null;
    this.closeMicrophone?.();
    this.encoder?.close();
    this.decoder?.close();
    this.context?.close();
  }
}
