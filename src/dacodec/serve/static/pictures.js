// Spectrograms and codes on canvases.

const SIZE = 1024; // samples of a window
const FLOOR_DB = -90;

// Dark to light, close to the magma colour map.
const STOPS = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];
const COLOURS = Uint8Array.from({ length: 256 * 3 }, (_, i) => {
  const at = (Math.floor(i / 3) / 255) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low][i % 3] + (at - low) * (STOPS[low + 1][i % 3] - STOPS[low][i % 3]);
});

const COSINES = Float32Array.from({ length: SIZE / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / SIZE));
const SINES = Float32Array.from({ length: SIZE / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / SIZE));
const WINDOW = Float32Array.from({ length: SIZE }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
const BITS = Math.log2(SIZE);
const REVERSED = Uint16Array.from({ length: SIZE }, (_, i) => {
  let r = 0;
  for (let b = 0; b < BITS; b++) r |= ((i >> b) & 1) << (BITS - 1 - b);
  return r;
});

function transform(re, im) {
  for (let i = 0; i < SIZE; i++) {
    const j = REVERSED[i];
    if (j > i) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let half = 1; half < SIZE; half *= 2) {
    const step = SIZE / (2 * half);
    for (let start = 0; start < SIZE; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = start + k, b = a + half, c = COSINES[k * step], s = -SINES[k * step];
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

function fit(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return [canvas.getContext("2d"), canvas.width, canvas.height, scale];
}

// The mean of all channels.
function mono(buffer) {
  const sum = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const samples = buffer.getChannelData(c);
    for (let i = 0; i < sum.length; i++) sum[i] += samples[i] / buffer.numberOfChannels;
  }
  return sum;
}

// Decibels [columns][SIZE / 2], one column per pixel.
export function spectrum(buffer, columns) {
  const samples = mono(buffer), found = new Float32Array((columns * SIZE) / 2);
  const re = new Float32Array(SIZE), im = new Float32Array(SIZE);
  for (let x = 0; x < columns; x++) {
    const start = Math.round(((x + 0.5) / columns) * samples.length - SIZE / 2);
    for (let i = 0; i < SIZE; i++) {
      re[i] = (samples[start + i] || 0) * WINDOW[i];
      im[i] = 0;
    }
    transform(re, im);
    for (let k = 0; k < SIZE / 2; k++) {
      found[(x * SIZE) / 2 + k] = 10 * Math.log10(re[k] * re[k] + im[k] * im[k] + 1e-12) - 20 * Math.log10(SIZE / 4);
    }
  }
  return found;
}

// 0 dB is the loudest of the original, in both pictures. Frequencies are linear up to half the rate.
export function drawSpectrum(canvas, buffer, loudest = undefined) {
  const [context, width, height, scale] = fit(canvas);
  const decibels = spectrum(buffer, width), bins = SIZE / 2;
  const top = loudest ?? decibels.reduce((most, value) => Math.max(most, value), -Infinity);
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    const low = Math.floor(((height - 1 - y) / height) * bins), high = Math.max(low + 1, Math.floor(((height - y) / height) * bins));
    for (let x = 0; x < width; x++) {
      let value = -Infinity;
      for (let k = low; k < high; k++) value = Math.max(value, decibels[x * bins + k]);
      const level = Math.max(0, Math.min(255, Math.round((255 * (value - top - FLOOR_DB)) / -FLOOR_DB)));
      const at = 4 * (y * width + x);
      image.data.set(COLOURS.subarray(3 * level, 3 * level + 3), at);
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  label(context, scale, height, buffer.sampleRate / 2000);
  return top;
}

function label(context, scale, height, most) {
  const step = [1, 2, 4, 5, 10, 20].find((s) => most / s <= 5) ?? 50;
  context.font = `${11 * scale}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (let kilohertz = step; kilohertz < most * 0.96; kilohertz += step) {
    const y = height * (1 - kilohertz / most), text = `${kilohertz} kHz`;
    context.fillStyle = "rgb(0 0 0 / .55)";
    context.fillRect(0, y - 8 * scale, context.measureText(text).width + 8 * scale, 16 * scale);
    context.fillStyle = "#fff";
    context.fillText(text, 4 * scale, y);
  }
}

// Codes [C][K][F], the channels one below the other.
export function drawCodes(canvas, codes, size) {
  const rows = codes.flat(), frames = rows[0].length;
  const small = new OffscreenCanvas(frames, rows.length);
  const image = new ImageData(frames, rows.length);
  rows.forEach((row, y) => row.forEach((code, x) => {
    image.data.set(colour(code / size), 4 * (y * frames + x));
  }));
  small.getContext("2d").putImageData(image, 0, 0);
  const [context, width, height] = fit(canvas);
  context.imageSmoothingEnabled = frames > width;
  context.drawImage(small, 0, 0, width, height);
  context.fillStyle = "rgb(0 0 0 / .5)";
  for (let y = 1; y < rows.length; y++) context.fillRect(0, Math.round((y * height) / rows.length), width, 1);
}

function colour(part) {
  const hue = 360 * part, light = 0.35 + 0.35 * ((part * 7) % 1);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - 0.6 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4), 255];
}

// Peaks over the last seconds: the first upwards, the second downwards.
export function drawLevels(canvas, above, below) {
  const [context, width, height] = fit(canvas);
  context.clearRect(0, 0, width, height);
  const bar = width / above.length;
  above.forEach((peak, i) => {
    context.fillStyle = "#5cc5cc";
    context.fillRect(i * bar, (height / 2) * (1 - Math.min(1, peak)), Math.max(1, bar - 1), (height / 2) * Math.min(1, peak));
    context.fillStyle = "#ffc857";
    context.fillRect(i * bar, height / 2, Math.max(1, bar - 1), (height / 2) * Math.min(1, below[i]));
  });
}
