// A reader of .dacz files in plain JavaScript, written from docs/format.md alone. No dependencies.
//
//   import { readFile, readPrior } from "./dacz.mjs";
//   const { header, codes, nSamples } = readFile(bytes, priorBytes);  // Uint8Array in, codes[k][c][f] out
//
// From a shell: node dacz.mjs FILE [PRIOR] prints the header and the codes as JSON; exit code 1 and the reason and offset
// for a file that breaks the format.

export class FormatError extends Error {
  constructor(message, offset) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

function need(condition, message, offset) {
  if (!condition) throw new FormatError(message, offset);
}

// Numbers

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

export function crc16(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let i = 0; i < 8; i++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc;
}

// A file in memory, or the part of one that begins at byte `start`, read from front to back. Offsets count from the
// beginning of the file.
export class Input {
  constructor(bytes, start = 0) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.start = this.offset = start;
    this.end = start + bytes.length;
  }
  part(from, to) {
    return this.bytes.subarray(from - this.start, to - this.start);
  }
  take(n) {
    need(this.offset + n <= this.end, "the file is truncated", this.end);
    this.offset += n;
    return this.part(this.offset - n, this.offset);
  }
  u8() {
    return this.take(1)[0];
  }
  number(n) {
    // at most 6 bytes, which a double holds exactly
    return this.take(n).reduceRight((sum, byte) => sum * 256 + byte, 0);
  }
  big() {
    return this.take(8).reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
  }
}

function utf8(bytes, what, offset) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FormatError(`${what} is not UTF-8`, offset);
  }
}

const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/;

// Header

const MAGIC = [0x89, 0x44, 0x41, 0x43, 0x0d, 0x0a, 0x1a, 0x0a];
const UNKNOWN = 2n ** 64n - 1n;
const MAX_SAMPLES = 2n ** 53n - 1n;
// name, bytes, least, most
const FIELDS = [
  ["modelSamplingRate", 4, 1, 768000],
  ["hopLength", 4, 1, 2 ** 20],
  ["codebookSize", 4, 2, 65536],
  ["samplingRate", 4, 1, 768000],
];
const SMALL_FIELDS = [
  ["packetFrames", 2, 1, 65535],
  ["nCodebooks", 1, 1, 255],
  ["channels", 1, 1, 255],
  ["channelCoding", 1, 0, 1],
];

export function readHeader(input) {
  const bytes = input.bytes;
  for (let i = 0; i < 8; i++) {
    need(i < bytes.length, "the file is truncated", bytes.length);
    need(bytes[i] === MAGIC[i], "not a .dacz file", 0);
  }
  input.take(8);
  const version = input.take(4)[0];
  need(version === 1, version === 0 ? "a draft, from before version 1" : "unknown version", 8);
  const flags = bytes[9];
  const length = input.view.getUint16(10, true);
  need(length >= 83, "a header that is too short", 10);
  need(length <= bytes.length, "the file is truncated", bytes.length);
  const end = length - 4;
  need(crc32(bytes.subarray(0, end)) === input.view.getUint32(end, true), "the header is damaged", 0);
  need(flags === 0, "reserved flags", 9);
  const header = {};
  const readFields = (fields) => {
    for (const [name, size, least, most] of fields) {
      const offset = input.offset;
      header[name] = input.number(size);
      need(header[name] >= least && header[name] <= most, `${name} is ${header[name]}, not ${least} to ${most}`, offset);
    }
  };
  readFields(FIELDS);
  header.gain = input.view.getFloat32(input.offset, true);
  need(header.gain >= 2 ** -24 && header.gain <= 2 ** 24, "gain", input.offset);
  input.take(4);
  const nSamples = input.big();
  need(nSamples === UNKNOWN || nSamples <= MAX_SAMPLES, "n_samples", 32);
  header.nSamples = nSamples === UNKNOWN ? null : Number(nSamples);
  readFields(SMALL_FIELDS);
  const { packetFrames, hopLength, modelSamplingRate, nCodebooks, channels } = header;
  need(packetFrames === 1 || packetFrames * hopLength <= 10 * modelSamplingRate, "a packet over 10 s", 40);
  need(channels * nCodebooks * packetFrames <= 2 ** 20, "a packet of too many codes", 40);
  need(header.channelCoding === 0 || channels === 2, "mid and side need two channels", 44);
  const nameLength = input.u8();
  header.fingerprint = Array.from(input.take(32));
  need(nameLength >= 1 && 78 + nameLength <= end, "name_length", 45);
  header.modelName = utf8(input.take(nameLength), "model_name", 78);
  need(!CONTROLS.test(header.modelName) && header.modelName !== "builtin", "model_name", 78);
  header.width = Math.ceil(Math.log2(header.codebookSize));
  readExtensions(input, end, header);
  input.take(4);
  return header;
}

function readExtensions(input, end, header) {
  Object.assign(header, { priorId: null, tags: [], speakers: null });
  let previous = -1;
  while (input.offset < end) {
    const start = input.offset;
    need(end - start >= 4, "an extension that is cut", start);
    const type = input.number(2);
    need(type > previous, "extensions that do not ascend", start);
    previous = type;
    const length = input.number(2);
    need(input.offset + length <= end, "an extension longer than the header", start + 2);
    const data = input.take(length);
    if (type === 1) {
      need(length === 8, "prior", start);
      header.priorId = Array.from(data);
    } else if (type === 0x8001) {
      header.tags = readTags(data, start + 4);
    } else if (type === 0x8002) {
      need(length === 4, "speakers", start);
      header.speakers = (data[0] | (data[1] << 8) | (data[2] << 16) | (data[3] << 24)) >>> 0;
      const nBits = [...header.speakers.toString(2)].filter((bit) => bit === "1").length;
      need(nBits === header.channels, "speakers", start);
    } else {
      need(type >= 0x8000, "an unknown extension that may not be passed over", start);
    }
  }
}

function readTags(data, offset) {
  const tags = [];
  const input = new Input(data);
  need(data.length > 0, "tags without a tag", offset);
  while (input.offset < data.length) {
    const start = offset + input.offset;
    need(1 + data[input.offset] + 2 <= data.length - input.offset, "a tag that is cut", start);
    const key = utf8(input.take(input.u8()), "a tag", start);
    const valueLength = input.number(2);
    need(valueLength <= data.length - input.offset, "a tag that is cut", start);
    const value = utf8(input.take(valueLength), "a tag", start);
    need(key !== "" && !CONTROLS.test(key) && !CONTROLS.test(value.replace(/[\n\t]/g, "")), "a tag", start);
    tags.push([key, value]);
  }
  return tags;
}

// Blocks

export const [PACKET, CODED, INDEX, END] = Array.from("PCIE", (kind) => kind.charCodeAt(0));

function readBlock(input, header) {
  const start = input.offset;
  const head = input.take(12);
  need(head[0] === 0xda && head[1] === 0xc5, "sync", start);
  need(crc16(head.subarray(0, 10)) === head[10] + 256 * head[11], "a damaged head", start);
  const at = new DataView(head.buffer, head.byteOffset);
  const block = { start, kind: head[2], nCodebooks: head[3], nFrames: at.getUint16(4, true) };
  block.firstFrame = at.getUint32(6, true);
  block.savings = new Map();
  need([PACKET, CODED, INDEX, END].includes(block.kind), "unknown kind", start + 2);
  need(block.kind !== CODED || header.priorId !== null, "a coded packet without a prior", start + 2);
  if (block.kind === PACKET || block.kind === CODED) {
    need(block.nCodebooks >= 1 && block.nCodebooks <= header.nCodebooks, "n_codebooks", start + 3);
    need(block.nFrames >= 1 && block.nFrames <= header.packetFrames, "n_frames", start + 4);
    const nCodes = header.channels * block.nFrames;
    need(block.kind === PACKET || nCodes <= 8192, "a coded packet that is too long", start + 4);
    block.rawLength = Math.ceil((header.channels * block.nFrames * header.width) / 8);
  } else {
    need(block.nCodebooks === 0, "n_codebooks", start + 3);
    need(block.kind === INDEX ? block.nFrames >= 1 : block.nFrames === 0, "n_frames", start + 4);
  }
  if (block.kind === CODED) readTable(input, block);
  block.bodyStart = input.offset;
  block.body = input.take(bodyLength(block));
  const end = input.offset;
  const crc = input.number(4);
  block.isSound = () => crc32(input.part(start, end)) === crc;
  block.length = end + 4 - start;
  return block;
}

function bodyLength(block) {
  if (block.kind === END) return 12;
  if (block.kind === INDEX) return 12 * block.nFrames;
  let length = block.nCodebooks * block.rawLength;
  for (const saving of block.savings.values()) length -= saving;
  return length;
}

function readTable(input, block) {
  let offset = input.offset;
  const mask = readVarint(input, block.nCodebooks);
  need(mask > 0n, "a mask of nothing", offset);
  for (let k = 0; k < block.nCodebooks; k++) {
    if (((mask >> BigInt(k)) & 1n) === 0n) continue;
    offset = input.offset;
    const saving = readVarint(input, 32);
    need(saving >= 1n && saving <= BigInt(block.rawLength), "saving", offset);
    block.savings.set(k, Number(saving));
  }
}

function readVarint(input, bits) {
  const start = input.offset;
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = input.u8();
    value |= BigInt(byte & 127) << shift;
    need(value >> BigInt(bits) === 0n && shift < BigInt(bits), "a number that is too large", start);
    if (byte < 128) {
      need(byte !== 0 || shift === 0n, "a number that is badly spelled", start);
      return value;
    }
  }
}

// Segments

function readRaw(segment, header, nFrames, offset) {
  const codes = [];
  let rest = 0; // bits not used yet, lowest first
  let nBits = 0;
  for (const byte of segment) {
    rest += byte * 2 ** nBits;
    nBits += 8;
    while (nBits >= header.width && codes.length < header.channels * nFrames) {
      codes.push(rest % 2 ** header.width);
      rest = Math.floor(rest / 2 ** header.width);
      nBits -= header.width;
    }
  }
  need(rest === 0, "padding", offset + segment.length - 1);
  return Array.from({ length: header.channels }, (_, c) => codes.slice(c * nFrames, (c + 1) * nFrames));
}

const S = [
  22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911,
  53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514,
];

function squash(z) {
  const x = Math.max(-2047, Math.min(2047, z)) + 2048;
  const i = x >> 7;
  const j = x & 127;
  return (S[i] * (128 - j) + S[i + 1] * j) >> 7;
}

class RangeDecoder {
  constructor(segment) {
    this.segment = segment;
    this.position = 0;
    this.r = 2 ** 32 - 1;
    this.v = this.word() * 65536 + this.word();
  }
  word() {
    const [high, low] = [this.segment[this.position] ?? 0, this.segment[this.position + 1] ?? 0];
    this.position += 2;
    return high * 256 + low;
  }
  decode(p) {
    const bound = Math.floor((this.r * p) / 65536);
    const bit = this.v < bound ? 1 : 0;
    if (bit) {
      this.r = bound;
    } else {
      this.v -= bound;
      this.r -= bound;
    }
    if (this.r < 65536) {
      this.r *= 65536;
      this.v = this.v * 65536 + this.word();
    }
    return bit;
  }
}

function readCoded(segment, prior, below, channels, nFrames) {
  const { width, dimensions, trees } = prior;
  const { rate, sources, order, bias, nodeVector, context } = trees[below.length];
  const size = 2 ** width;
  const state = Int32Array.from(bias);
  const codes = Array.from({ length: channels }, () => new Array(nFrames));
  const known = [...below, codes];
  const decoder = new RangeDecoder(segment);
  const h = new Int32Array(dimensions);
  for (let f = 0; f < nFrames; f++) {
    for (let c = 0; c < channels; c++) {
      h.fill(0);
      sources.forEach(([lag, j], s) => {
        if (f < lag) return;
        const row = (s * size + known[j][c][f - lag]) * dimensions;
        for (let i = 0; i < dimensions; i++) h[i] += context[row + i];
      });
      let node = 1;
      for (let depth = 0; depth < width; depth++) {
        let dot = 0;
        for (let i = 0; i < dimensions; i++) dot += nodeVector[node * dimensions + i] * h[i];
        const p = squash(state[node] + (dot >> 3));
        const bit = decoder.decode(p);
        state[node] += ((bit ? 65536 - p : -p) * rate[depth] + 32768) >> 16;
        node = 2 * node + bit;
      }
      codes[c][f] = order[node - size];
    }
  }
  return codes;
}

export function readPacket(block, header, prior) {
  const codebooks = [];
  let position = 0;
  for (let k = 0; k < block.nCodebooks; k++) {
    const isCoded = block.savings.has(k);
    const length = block.rawLength - (block.savings.get(k) ?? 0);
    const segment = block.body.subarray(position, position + length);
    const offset = block.bodyStart + position;
    position += length;
    if (isCoded) {
      if (!prior) throw new Error("these codes need the prior of their model");
      need(length === 0 || segment[length - 1] !== 0, "a zero at the end", offset + length - 1);
    }
    const codes = isCoded
      ? readCoded(segment, prior, codebooks, header.channels, block.nFrames)
      : readRaw(segment, header, block.nFrames, offset);
    need(
      codes.every((channel) => channel.every((code) => code < header.codebookSize)),
      "a code that no codebook has",
      offset,
    );
    codebooks.push(codes);
  }
  return codebooks;
}

// Prior

export function readPrior(bytes) {
  const input = new Input(bytes);
  const end = bytes.length - 4;
  const isSound = end >= 44 && crc32(bytes.subarray(0, end)) === input.view.getUint32(end, true);
  const magic = [0x89, 0x44, 0x41, 0x50, 0x0d, 0x0a, 0x1a, 0x0a, 1];
  if (!isSound || magic.some((byte, i) => bytes[i] !== byte)) throw new Error("not a prior, or a damaged one");
  input.take(9);
  const [width, nCodebooks, dimensions] = input.take(3);
  input.take(32);
  const size = 2 ** width;
  const words = (n, method) =>
    Array.from({ length: n }, () => input.view[method](input.take(2).byteOffset - bytes.byteOffset, true));
  const signed = (n) => Int8Array.from(input.take(n));
  const trees = Array.from({ length: nCodebooks }, () => {
    const rate = input.take(width);
    const nSources = input.u8();
    const sources = Array.from({ length: nSources }, () => [input.u8(), input.u8()]);
    const order = words(size, "getUint16");
    const bias = words(size, "getInt16");
    const nodeVector = signed(size * dimensions);
    return { rate, sources, order, bias, nodeVector, context: signed(nSources * size * dimensions) };
  });
  if (input.offset !== end) throw new Error("a prior that is longer than it says");
  return { width, dimensions, trees };
}

// The file

export function readFile(bytes, priorBytes) {
  const input = new Input(bytes);
  const header = readHeader(input);
  const prior = priorBytes ? readPrior(priorBytes) : null;
  const codes = Array.from({ length: header.nCodebooks }, () => Array.from({ length: header.channels }, () => []));
  for (const block of blocksOf(input, header)) {
    if (block.kind === END) return { header, codes, nSamples: block.nSamples };
    const packet = readPacket(block, header, prior);
    packet.forEach((channels, k) => channels.forEach((some, c) => codes[k][c].push(...some)));
  }
}

// The packets and the end mark of a file whose header was read, checked but for the codes in them.
export function* blocksOf(input, header) {
  const entries = new IndexEntries(header);
  let nFrames = 0;
  let indexLength = 0;
  for (;;) {
    const block = readBlock(input, header);
    checkPlace(block, header, nFrames);
    need(!indexLength || block.kind === END, "something but the end mark follows the index", block.start + 2);
    need(block.isSound(), "a damaged block", block.start);
    if (block.kind === END) {
      block.nSamples = readEnd(block, header, nFrames, indexLength);
      need(input.offset === input.end, "something follows the end mark", input.offset);
      yield block;
      return;
    }
    if (block.kind === INDEX) {
      entries.check(block);
      indexLength = block.length;
      continue;
    }
    entries.add(block);
    yield block;
    nFrames += block.nFrames;
    need(nFrames < 2 ** 32, "too many frames", block.start + 4);
  }
}

// The packets of a part of a file from the one with frame `nFrames` on, checked but for the codes in them.
export function* packetsOf(input, header, nFrames) {
  while (input.offset < input.end) {
    const block = readBlock(input, header);
    need(isPacket(block), "not a packet", block.start + 2);
    checkPlace(block, header, nFrames);
    need(block.isSound(), "a damaged block", block.start);
    yield block;
    nFrames += block.nFrames;
  }
}

const isPacket = ({ kind }) => kind === PACKET || kind === CODED;

function checkPlace(block, header, nFrames) {
  need(!isPacket(block) || block.nCodebooks === header.nCodebooks, "n_codebooks", block.start + 3);
  need(block.firstFrame === nFrames, "first_frame", block.start + 6);
}

// What damage left of a file whose header is sound: its packets in order, and an end mark if there is one; or of a part of a
// file, from the packet with frame `nFrames` on, up to frame `most`. Rules: "Damage" in docs/format.md. Places that only look
// like blocks, each as long as a whole packet, could be made to take for ever: what is spent on them is bounded by the file's
// length.
export function* soundBlocksOf(input, header, nFrames = 0, most = framesPromised(header)) {
  const { samplingRate, modelSamplingRate, hopLength } = header;
  let end = input.offset; // of the last sound block
  const work = { left: 2 ** 22 + 32 * input.bytes.length }; // bytes
  while (input.offset < input.end) {
    const start = input.offset;
    const block = trySound(input, header, work);
    if (!block) {
      const { bytes } = input;
      let next = bytes.indexOf(0xda, start + 1 - input.start);
      while (next >= 0 && bytes[next + 1] !== 0xc5) next = bytes.indexOf(0xda, next + 1);
      if (next < 0) return;
      input.offset = input.start + next;
      continue;
    }
    if (block.kind === INDEX || (block.kind !== END && block.nCodebooks !== header.nCodebooks)) continue;
    const gap = block.firstFrame - nFrames;
    if (block.kind === END) {
      const body = new Input(block.body);
      block.nSamples = Number(body.big());
      const fits = block.nSamples * modelSamplingRate <= (block.firstFrame + 1) * hopLength * samplingRate;
      if (gap >= 0 && fits && believable(gap, block.start - end, block.firstFrame, most)) yield block;
      return;
    }
    if (gap < 0 || !believable(gap, block.start - end, block.firstFrame + block.nFrames, most)) continue;
    yield block;
    nFrames = block.firstFrame + block.nFrames;
    end = input.offset;
  }
}

function framesPromised({ samplingRate, modelSamplingRate, hopLength, nSamples }) {
  return nSamples === null ? Infinity : Math.ceil((nSamples * modelSamplingRate) / (samplingRate * hopLength)) + 1;
}

function believable(gap, passedOver, frames, most) {
  return frames <= most && (most < Infinity || gap <= 2 ** 16 || gap <= passedOver);
}

function trySound(input, header, work) {
  const start = input.offset;
  try {
    const block = readBlock(input, header);
    work.left -= block.length;
    need(work.left > 0, "too much damage to look for what is left", start);
    if (block.isSound()) return block;
  } catch (error) {
    if (!(error instanceof FormatError) || work.left <= 0) throw error;
  }
  input.offset = start;
  return null;
}

// Index

// The entries that a file's packets need: the first packet of every 10 s, fewer in a file of over a week.
export class IndexEntries {
  constructor(header) {
    this.distance = Math.ceil((10 * header.modelSamplingRate) / header.hopLength);
    this.entries = [];
  }
  add({ firstFrame, start }) {
    const { entries } = this;
    if (entries.length && firstFrame < entries.at(-1).firstFrame + this.distance) return;
    if (entries.length === 65535) {
      this.entries = entries.filter((_, i) => i % 2 === 0);
      this.distance *= 2;
      this.add({ firstFrame, start });
    } else {
      entries.push({ firstFrame, start });
    }
  }
  check(block) {
    const found = readEntries(block);
    const isRight = ({ firstFrame, start }, i) => found[i]?.firstFrame === firstFrame && found[i].start === start;
    need(found.length === this.entries.length && this.entries.every(isRight), "an index that is wrong", block.bodyStart);
  }
}

function readEntries(block) {
  const body = new Input(block.body);
  return Array.from({ length: block.nFrames }, () => ({ firstFrame: body.number(4), start: Number(body.big()) }));
}

export const END_BYTES = 28;

// How long the index of a file is, from the last END_BYTES of it; 0 for none.
export function readIndexLength(input, header) {
  const block = readBlock(input, header);
  need(block.kind === END && block.isSound(), "not the end mark", block.start);
  return new DataView(block.body.buffer, block.body.byteOffset).getUint32(8, true);
}

// The index and the end mark of a file, which `input` begins with: { entries, block, nFrames, nSamples }.
export function readIndex(input, header) {
  const block = readBlock(input, header);
  need(block.kind === INDEX && block.isSound(), "not the index", block.start);
  const end = readBlock(input, header);
  need(end.kind === END && end.isSound(), "not the end mark", end.start);
  need(block.firstFrame === end.firstFrame, "first_frame", end.start + 6);
  const nSamples = readEnd(end, header, end.firstFrame, block.length);
  return { entries: readEntries(block), block, nFrames: end.firstFrame, nSamples };
}

function readEnd(block, header, nFrames, indexLength) {
  const body = new Input(block.body);
  const nSamples = body.big();
  need(nSamples <= MAX_SAMPLES, "n_samples", block.bodyStart);
  need(header.nSamples === null || nSamples === BigInt(header.nSamples), "n_samples unlike the header's", block.bodyStart);
  need(nFrames > 0 || nSamples === 0n, "samples without frames", block.bodyStart);
  const most = BigInt(nFrames + 1) * BigInt(header.hopLength) * BigInt(header.samplingRate);
  need(nSamples * BigInt(header.modelSamplingRate) <= most, "more samples than frames", block.bodyStart);
  need(body.number(4) === indexLength, "index_length", block.bodyStart + 8);
  return Number(nSamples);
}

// From a shell

if (globalThis.process?.argv[1]?.endsWith("dacz.mjs")) {
  const { readFileSync } = await import("node:fs");
  const [path, priorPath] = process.argv.slice(2);
  try {
    const file = readFile(readFileSync(path), priorPath && readFileSync(priorPath));
    console.log(JSON.stringify(file));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message, offset: error.offset ?? null }));
    process.exitCode = 1;
  }
}
