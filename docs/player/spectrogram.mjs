// A spectrogram that fills as the audio is decoded.

const SIZE = 1024; // samples of a window
const FLOOR_DB = -90;
// Dark to light, as magma goes, in a few steps.
const STOPS = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (STOPS.length - 1), low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low].map((value, c) => value + (at - low) * (STOPS[low + 1][c] - value));
});
const WINDOW = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
const TURNS = Array.from({ length: SIZE / 2 }, (_, i) => [Math.cos((2 * Math.PI * i) / SIZE), -Math.sin((2 * Math.PI * i) / SIZE)]);

// In place, of SIZE numbers.
function transform(re, im) {
  for (let i = 0, j = 0; i < SIZE; i++) {
    if (j > i) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
    let bit = SIZE >> 1;
    while (bit && j & bit) {
      j ^= bit;
      bit >>= 1;
    }
    j |= bit;
  }
  for (let half = 1; half < SIZE; half *= 2) {
    for (let start = 0; start < SIZE; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [c, s] = TURNS[(k * SIZE) / (2 * half)], a = start + k, b = a + half;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

export class Spectrogram {
  constructor(canvas) {
    this.canvas = canvas;
  }

  // Empty, for a recording of `nSamples` samples.
  clear(nSamples, samplingRate) {
    const scale = globalThis.devicePixelRatio || 1;
    this.width = this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
    this.height = this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
    this.context = this.canvas.getContext("2d");
    this.nSamples = Math.max(1, nSamples);
    this.scale = scale;
    this.samplingRate = samplingRate;
    this.context.fillStyle = "#0b0f14";
    this.context.fillRect(0, 0, this.width, this.height);
    this.label();
    this.before = { end: -1, samples: new Float32Array(0) };
  }

  // Draw the columns that this audio completes.
  add(start, channels) {
    let samples = channels[0].map((x, i) => channels.reduce((sum, some) => sum + some[i], 0) / channels.length);
    let first = start;
    if (this.before.end === start) {
      const kept = this.before.samples;
      const sum = new Float32Array(kept.length + samples.length);
      sum.set(kept);
      sum.set(samples, kept.length);
      first -= kept.length;
      samples = sum;
    }
    const perColumn = this.nSamples / this.width, end = first + samples.length;
    const isEnd = end >= this.nSamples;
    const from = Math.max(0, Math.ceil((start - SIZE / 2) / perColumn - 0.5));
    const to = isEnd ? this.width : Math.ceil((end - SIZE / 2) / perColumn - 0.5);
    for (let x = from; x < to; x++) this.column(x, samples, Math.round((x + 0.5) * perColumn - SIZE / 2) - first);
    this.before = { end, samples: samples.slice(-SIZE) };
    if (to > from) this.label();
  }

  column(x, samples, at) {
    const re = Float32Array.from(WINDOW, (w, i) => w * (samples[at + i] ?? 0)), im = new Float32Array(SIZE);
    transform(re, im);
    const image = this.context.createImageData(1, this.height);
    for (let y = 0; y < this.height; y++) {
      const bins = SIZE / 2, low = Math.floor(((this.height - 1 - y) / this.height) * bins);
      const high = Math.max(low + 1, Math.floor(((this.height - y) / this.height) * bins));
      let most = 0;
      for (let k = low; k < high; k++) most = Math.max(most, re[k] * re[k] + im[k] * im[k]);
      const db = 10 * Math.log10(most + 1e-12) - 20 * Math.log10(SIZE / 4);
      const level = Math.max(0, Math.min(255, Math.round((255 * (db - FLOOR_DB)) / -FLOOR_DB)));
      image.data.set([...COLOURS[level], 255], 4 * y);
    }
    this.context.putImageData(image, x, 0);
  }

  label() {
    const most = this.samplingRate / 2000, step = [1, 2, 4, 5, 10, 20].find((some) => most / some <= 5) ?? 50;
    const { context, scale } = this;
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (let kilohertz = step; kilohertz < most * 0.96; kilohertz += step) {
      const y = this.height * (1 - kilohertz / most), text = `${kilohertz} kHz`;
      context.fillStyle = "#0b0f14";
      context.fillRect(0, y - 8 * scale, context.measureText(text).width + 8 * scale, 16 * scale);
      context.fillStyle = "#fff";
      context.fillText(text, 4 * scale, y);
    }
  }
}
