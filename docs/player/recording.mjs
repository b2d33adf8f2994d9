// A .dacz file that is opened at once, and whose codes are read where they are needed: through its index, where it has a
// sound one, else as a whole.

import {
  END, END_BYTES, FormatError, IndexEntries, Input,
  blocksOf, packetsOf, readHeader, readIndex, readIndexLength, readPacket, readPrior, soundBlocksOf,
} from "./dacz.mjs";

const SMALL_BYTES = 2 ** 16; // a file that is read as a whole, and more than any header
const LEAST_PACKET = 17; // bytes

export class Recording {
  // Throws FormatError where the header is damaged. What else is damaged is passed over and noted in `damage`,
  // [{ message, offset, firstFrame, nFrames }], as soon as it is read.
  static async open(source) {
    const input = new Input(await source.read(0, Math.min(source.size, SMALL_BYTES)));
    const recording = new Recording();
    Object.assign(recording, { source, header: readHeader(input), headerEnd: input.offset, damage: [], sections: [] });
    if (source.size <= SMALL_BYTES || !(await recording.openIndex())) await recording.openWhole();
    recording.limitLength();
    return recording;
  }

  // Sections from one entry of the index to the next. False without an index that can be trusted.
  async openIndex() {
    const { source, header, headerEnd } = this;
    try {
      const length = readIndexLength(await this.input(source.size - END_BYTES, source.size), header);
      const start = source.size - END_BYTES - length;
      if (!length || start <= headerEnd) return false;
      this.index = readIndex(await this.input(start, source.size), header);
      const { entries, nFrames, nSamples } = this.index;
      this.sections = entries.map(({ firstFrame, start: from }, i) => ({
        firstFrame,
        endFrame: entries[i + 1]?.firstFrame ?? nFrames,
        start: from,
        end: entries[i + 1]?.start ?? start,
        packets: null,
      }));
      if (!this.hasOrder()) return false;
      Object.assign(this, { nFrames, nSamples });
      return true;
    } catch (error) {
      if (error instanceof FormatError) return false;
      throw error;
    }
  }

  // The sections follow each other from the header on, and none promises more than fits into it.
  hasOrder() {
    const { sections, headerEnd, header } = this;
    const [{ firstFrame, start }] = sections;
    const fits = (one) =>
      one.endFrame > one.firstFrame &&
      one.endFrame - one.firstFrame <= Math.floor((one.end - one.start) / LEAST_PACKET) * header.packetFrames;
    return firstFrame === 0 && start === headerEnd && sections.every(fits);
  }

  async openWhole() {
    const section = { firstFrame: 0, endFrame: Infinity, start: this.headerEnd, end: this.source.size };
    this.index = null;
    const take = (blocks) => {
      section.packets = [];
      this.nSamples = null;
      for (const block of blocks) {
        if (block.kind !== END) section.packets.push({ block, codes: null });
        else Object.assign(this, { nSamples: block.nSamples, nFrames: block.firstFrame });
      }
    };
    const input = await this.input(section.start, section.end);
    try {
      take(blocksOf(input, this.header));
    } catch (error) {
      this.note(error);
      input.offset = section.start;
      take(soundBlocksOf(input, this.header));
    }
    const last = section.packets.at(-1)?.block;
    if (this.nSamples === null) this.nFrames = last ? last.firstFrame + last.nFrames : 0;
    this.sections = [section];
  }

  // What the frames cover, with one to spare: a damaged file may promise more.
  limitLength() {
    const { hopLength, modelSamplingRate, samplingRate, nSamples } = this.header;
    const covered = (frames) => Math.floor((frames * hopLength * samplingRate) / modelSamplingRate);
    this.nSamples = Math.min(this.nSamples ?? nSamples ?? covered(this.nFrames), covered(this.nFrames + 1));
  }

  get seconds() {
    return this.nSamples / this.header.samplingRate;
  }

  get kbps() {
    return this.nSamples ? (8 * this.source.size) / this.seconds / 1000 : 0;
  }

  setPrior(bytes) {
    this.prior = bytes ? readPrior(bytes) : null;
  }

  async input(from, to) {
    return new Input(await this.source.read(from, to), from);
  }

  note(error, firstFrame = null, nFrames = 0) {
    if (!(error instanceof FormatError)) throw error;
    this.damage.push({ message: error.message, offset: error.offset, firstFrame, nFrames });
  }

  // Reads what `frames` needs, and begins to read the section after it.
  async prepare(first, n) {
    let i = lowerBound(this.sections, (section) => section.endFrame > first);
    for (; i < this.sections.length && this.sections[i].firstFrame < first + n; i++) await this.load(this.sections[i]);
    if (i < this.sections.length) this.load(this.sections[i]).catch(() => {}); // told of when it is needed
  }

  load(section) {
    if (section.packets) return Promise.resolve();
    section.loading ??= this.input(section.start, section.end)
      .then((input) => this.take(section, input))
      .finally(() => (section.loading = null));
    return section.loading;
  }

  take(section, input) {
    const { firstFrame, endFrame, start, end } = section;
    let blocks;
    try {
      blocks = [...packetsOf(input, this.header, firstFrame)];
      const last = blocks.at(-1);
      if (last.firstFrame + last.nFrames !== endFrame) throw new FormatError("frames unlike the index's", end);
    } catch (error) {
      this.note(error, firstFrame, endFrame - firstFrame);
      input.offset = start;
      const sound = soundBlocksOf(input, this.header, firstFrame, endFrame);
      blocks = [...sound].filter((block) => block.kind !== END);
    }
    section.packets = blocks.map((block) => ({ block, codes: null }));
  }

  // Whether the index is the one that the packets need, once they all are read.
  checkIndex() {
    if (!this.index || this.damage.length) return;
    const entries = new IndexEntries(this.header);
    for (const { packets } of this.sections) for (const { block } of packets) entries.add(block);
    try {
      entries.check(this.index.block);
    } catch (error) {
      this.note(error);
    }
  }

  // Codes [K][C] (Uint16Array) of a packet; null where they break the format, which is then noted in `damage`.
  codesOf(packet) {
    if (packet.codes || packet.isBad) return packet.codes;
    try {
      const codes = readPacket(packet.block, this.header, this.prior);
      packet.codes = codes.map((channels) => channels.map((some) => Uint16Array.from(some)));
    } catch (error) {
      packet.isBad = true;
      this.note(error, packet.block.firstFrame, packet.block.nFrames);
    }
    return packet.codes;
  }

  // Codes of `n` prepared frames from `first` on for a decoder, with K codebooks: Uint16Array [C, K, n]. Lost frames repeat
  // the one before, at first `last` [C, K], the last frame of what this returned before; `lost` (Uint8Array [n]) says which.
  frames(first, n, nCodebooks, last = null) {
    const { channels } = this.header;
    const codes = new Uint16Array(channels * nCodebooks * n);
    const lost = new Uint8Array(n).fill(1);
    for (const packet of this.packetsIn(first, n)) {
      const read = this.codesOf(packet);
      if (!read) continue;
      const { firstFrame, nFrames } = packet.block;
      const from = Math.max(first, firstFrame), to = Math.min(first + n, firstFrame + nFrames);
      lost.fill(0, from - first, to - first);
      for (let c = 0; c < channels; c++)
        for (let k = 0; k < nCodebooks; k++)
          for (let f = from; f < to; f++) codes[(c * nCodebooks + k) * n + f - first] = read[k][c][f - firstFrame];
    }
    const rows = Array.from({ length: channels * nCodebooks }, (_, row) => codes.subarray(row * n, (row + 1) * n));
    rows.forEach((row, i) => {
      for (let f = 0; f < n; f++) if (lost[f]) row[f] = (f ? row[f - 1] : last?.[i]) ?? 0;
    });
    return { codes, lost, last: Uint16Array.from(rows, (row) => row[n - 1]) };
  }

  *packetsIn(first, n) {
    for (const { packets, firstFrame, endFrame } of this.sections) {
      if (endFrame <= first || firstFrame >= first + n) continue;
      let i = lowerBound(packets, ({ block }) => block.firstFrame + block.nFrames > first);
      for (; i < packets.length && packets[i].block.firstFrame < first + n; i++) yield packets[i];
    }
  }
}

// The place of the first element of a sorted list that `isThere` holds for.
function lowerBound(list, isThere) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isThere(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}
