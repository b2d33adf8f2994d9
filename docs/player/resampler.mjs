// Sampling rate conversion as dacodec does it (src/dacodec/audio/resampling.py): a sinc with a Kaiser window.

const PASSBAND = 0.92, STOPBAND = 1, ATTENUATION_DB = 110;
const BETA = 0.1102 * (ATTENUATION_DB - 8.7);

function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

export class Resampler {
  constructor(fromRate, toRate) {
    let [a, b] = [fromRate, toRate];
    while (b) [a, b] = [b, a % b];
    this.down = fromRate / a;
    this.up = toRate / a;
    const lower = Math.min(1, toRate / fromRate);
    this.cutoff = (lower * (PASSBAND + STOPBAND)) / 2;
    const taps = (ATTENUATION_DB - 8) / (2.285 * Math.PI * (STOPBAND - PASSBAND) * lower);
    this.reach = fromRate === toRate ? 0 : Math.ceil(taps / 2);
    this.phases = new Map();
  }

  kernel(phase) {
    if (this.phases.has(phase)) return this.phases.get(phase);
    const { reach } = this;
    const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => {
      const offset = phase / this.up - (i - reach);
      const inside = Math.max(0, 1 - (offset / (reach + 1)) ** 2);
      return sinc(this.cutoff * offset) * bessel(BETA * Math.sqrt(inside));
    });
    const sum = taps.reduce((a, b) => a + b);
    taps.forEach((tap, i) => (taps[i] = tap / sum));
    if (this.phases.size < 4096) this.phases.set(phase, taps);
    return taps;
  }

  // Outputs `from` to `to` of a signal of which `samples` holds the inputs from `origin` on; others count as zero.
  convert(samples, origin, from, to) {
    if (!this.reach) return padded(samples.slice(from - origin, to - origin), to - from);
    const { down, up, reach } = this;
    return Float32Array.from({ length: to - from }, (_, i) => {
      const instant = (from + i) * down, base = Math.floor(instant / up), taps = this.kernel(instant % up);
      const first = base - reach - origin;
      let sum = 0;
      for (let t = Math.max(0, -first); t < taps.length && first + t < samples.length; t++) sum += taps[t] * samples[first + t];
      return sum;
    });
  }
}

// With zeros behind it, where it ends early.
function padded(samples, n) {
  if (samples.length === n) return samples;
  const longer = new Float32Array(n);
  longer.set(samples);
  return longer;
}

// Samples at `toRate` that cover `n` at `fromRate`.
export const resampledLength = (n, fromRate, toRate) => Math.ceil((n * toRate) / fromRate);
