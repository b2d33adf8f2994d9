// A .dacz file that is opened at once and whose codes are read where they are needed.

import { END, FormatError, Input, blocksOf, readHeader, readPacket, readPrior, soundBlocksOf } from "./dacz.mjs";

export class Recording {
  // Reads all but the codes: the header and every block's head and checksum. What is damaged is passed over and noted in
  // `damage`, [{ message, offset, firstFrame, nFrames }]. Throws FormatError where the header is damaged.
  constructor(bytes) {
    const input = new Input(bytes);
    this.bytes = bytes;
    this.header = readHeader(input);
    const start = input.offset;
    this.damage = [];
    this.packets = [];
    this.nSamples = null;
    try {
      for (const block of blocksOf(input, this.header)) this.take(block);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.damage.push({ message: error.message, offset: error.offset, firstFrame: null, nFrames: 0 });
      this.packets = [];
      this.nSamples = null;
      input.offset = start;
      for (const block of soundBlocksOf(input, this.header)) this.take(block);
    }
    const { hopLength, modelSamplingRate, samplingRate } = this.header;
    const last = this.packets.at(-1);
    this.nFrames = this.endFrame ?? (last ? last.block.firstFrame + last.block.nFrames : 0);
    this.nSamples ??= this.header.nSamples ?? Math.floor((this.nFrames * hopLength * samplingRate) / modelSamplingRate);
  }

  take(block) {
    if (block.kind === END) {
      this.nSamples = block.nSamples;
      this.endFrame = block.firstFrame;
    } else {
      this.packets.push({ block, codes: null });
    }
  }

  get seconds() {
    return this.nSamples / this.header.samplingRate;
  }

  get kbps() {
    return this.nSamples ? (8 * this.bytes.length) / this.seconds / 1000 : 0;
  }

  setPrior(bytes) {
    this.prior = bytes ? readPrior(bytes) : null;
  }

  // Codes [K][C] (Uint16Array) of a packet; null where they break the format, which is then noted in `damage`.
  codesOf(packet) {
    if (packet.codes || packet.isBad) return packet.codes;
    try {
      const codes = readPacket(packet.block, this.header, this.prior);
      packet.codes = codes.map((channels) => channels.map((some) => Uint16Array.from(some)));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      packet.isBad = true;
      const { firstFrame, nFrames } = packet.block;
      this.damage.push({ message: error.message, offset: error.offset, firstFrame, nFrames });
    }
    return packet.codes;
  }

  // The packet that holds a frame, or the first one after it.
  packetAt(frame) {
    let [low, high] = [0, this.packets.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { firstFrame, nFrames } = this.packets[middle].block;
      if (firstFrame + nFrames <= frame) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Codes of `n` frames from `first` on for a decoder, with K codebooks: Uint16Array [C, K, n]. Lost frames repeat the one
  // before; `lost` (Uint8Array [n]) says which those are.
  frames(first, n, nCodebooks) {
    const { channels } = this.header;
    const codes = new Uint16Array(channels * nCodebooks * n);
    const lost = new Uint8Array(n).fill(1);
    for (let i = this.packetAt(first); i < this.packets.length; i++) {
      const { firstFrame, nFrames } = this.packets[i].block;
      if (firstFrame >= first + n) break;
      const read = this.codesOf(this.packets[i]);
      const from = Math.max(first, firstFrame), to = Math.min(first + n, firstFrame + nFrames);
      if (!read) continue;
      lost.fill(0, from - first, to - first);
      for (let c = 0; c < channels; c++)
        for (let k = 0; k < nCodebooks; k++)
          for (let f = from; f < to; f++) codes[(c * nCodebooks + k) * n + f - first] = read[k][c][f - firstFrame];
    }
    for (let f = 1; f < n; f++) {
      if (!lost[f]) continue;
      for (let row = 0; row < channels * nCodebooks; row++) codes[row * n + f] = codes[row * n + f - 1];
    }
    return { codes, lost };
  }
}
