// Plays pieces of audio as they come: they are scheduled one after the other, and wait where one comes late.

const CUSHION_SECONDS = 0.15; // that must be there before sound begins

export class Playback {
  constructor(samplingRate) {
    try {
      this.context = new AudioContext({ sampleRate: samplingRate });
    } catch {
      this.context = new AudioContext(); // a rate that this browser does not have: it resamples
    }
    this.samplingRate = samplingRate;
    this.sources = new Set();
    this.waiting = [];
    this.position = 0; // seconds, while nothing plays
    this.origin = null; // when second 0 would have been, on the context's clock
    this.firstSound = null; // performance.now() of the first sound since start()
    this.gaps = 0;
  }

  async start(seconds) {
    this.stop();
    this.position = seconds;
    this.firstSound = null;
    this.isOver = false;
    await this.context.resume();
  }

  stop() {
    this.position = this.now;
    this.origin = null;
    this.waiting = [];
    for (const source of this.sources) source.stop();
    this.sources.clear();
  }

  push(start, channels) {
    this.waiting.push({ start, channels });
    const seconds = this.waiting.reduce((sum, one) => sum + one.channels[0].length, 0) / this.samplingRate;
    if (this.isLate) this.pause();
    if (this.origin !== null || seconds >= CUSHION_SECONDS) this.schedule();
  }

  // Nothing more will come.
  end() {
    this.isOver = true;
    if (this.waiting.length) this.schedule();
  }

  get isLate() {
    return this.origin !== null && this.context.currentTime > this.origin + this.scheduled - 0.005;
  }

  // What comes next is late: wait for a cushion again.
  pause() {
    this.gaps++;
    this.position = this.scheduled;
    this.origin = null;
  }

  schedule() {
    const { context } = this;
    if (this.origin === null) {
      this.origin = context.currentTime + 0.03 - this.waiting[0].start / this.samplingRate;
      this.firstSound ??= performance.now() + 30;
    }
    for (const { start, channels } of this.waiting) {
      const buffer = context.createBuffer(channels.length, channels[0].length, this.samplingRate);
      channels.forEach((some, c) => buffer.copyToChannel(some, c));
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(context.destination);
      source.onended = () => this.sources.delete(source);
      source.start(this.origin + start / this.samplingRate);
      this.sources.add(source);
      this.scheduled = (start + channels[0].length) / this.samplingRate;
    }
    this.waiting = [];
  }

  // The second that is heard.
  get now() {
    if (this.origin === null) return this.position;
    return Math.max(this.position, Math.min(this.scheduled, this.context.currentTime - this.origin));
  }

  get isWaiting() {
    return this.origin === null || this.isLate;
  }

  get hasEnded() {
    return this.isOver && (this.origin === null || this.context.currentTime >= this.origin + this.scheduled);
  }

  close() {
    this.stop();
    this.context.close();
  }
}
