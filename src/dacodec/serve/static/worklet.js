// Runs in the audio thread: passes the microphone's samples to the page, and plays those that the page sends.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 100));
    this.filled = 0;
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    for (let i = 0; i < samples.length; i++) {
      this.block[this.filled++] = samples[i];
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

// Plays samples in order. After a dropout it waits until the cushion is full again. If more than twice the cushion was
// buffered throughout a second, the excess is skipped, or the delay would never shrink again.
class Playback extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.queue = [];
    this.ready = 0; // samples in the queue
    this.offset = 0; // into the first block
    this.played = 0;
    this.gaps = 0;
    this.cushion = processorOptions.cushion;
    this.waits = true;
    this.least = Infinity; // samples in the queue within this second
    this.until = 0;
    this.port.onmessage = ({ data }) => {
      this.queue.push(data);
      this.ready += data.length;
    };
  }

  process(_, [output]) {
    const out = output[0];
    if (this.waits && this.ready >= this.cushion) this.waits = false;
    let filled = 0, peak = 0;
    while (!this.waits && filled < out.length && this.queue.length) {
      const block = this.queue[0];
      const n = Math.min(out.length - filled, block.length - this.offset);
      out.set(block.subarray(this.offset, this.offset + n), filled);
      filled += n;
      this.offset += n;
      if (this.offset === block.length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
    if (!this.waits && filled < out.length && this.played) {
      this.gaps++;
      this.waits = true;
    }
    for (let i = 0; i < filled; i++) peak = Math.max(peak, Math.abs(out[i]));
    this.ready -= filled;
    this.played += filled;
    this.least = Math.min(this.least, this.ready);
    if (currentTime >= this.until) {
      if (this.least > 2 * this.cushion && this.least < Infinity) this.skip(this.least - this.cushion);
      this.least = Infinity;
      this.until = currentTime + 1;
    }
    this.port.postMessage({ played: this.played, gaps: this.gaps, peak });
    return true;
  }

  skip(n) {
    this.gaps++;
    this.ready -= n;
    this.played += n;
    while (n) {
      const part = Math.min(n, this.queue[0].length - this.offset);
      n -= part;
      this.offset += part;
      if (this.offset === this.queue[0].length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
  }
}

registerProcessor("capture", Capture);
registerProcessor("playback", Playback);
