// Two versions of a recording that play in step, one of them audible: switching continues at the same sample.

const FADE_SECONDS = 0.012;

export class Players {
  // `changed` is called whenever the display must be updated.
  constructor(changed) {
    this.changed = changed;
    this.buffers = { a: null, b: null };
    this.heard = "a";
    this.loop = false;
    this.position = 0;
    this.playing = false;
  }

  open(sampleRate) {
    if (this.context?.sampleRate === sampleRate) return this.context;
    this.stop();
    this.context?.close();
    try {
      this.context = new AudioContext({ sampleRate });
    } catch {
      this.context = new AudioContext(); // this browser does not support the rate
    }
    this.gains = {};
    for (const name of ["a", "b"]) {
      this.gains[name] = this.context.createGain();
      this.gains[name].connect(this.context.destination);
    }
    return this.context;
  }

  load(name, buffer) {
    const wasPlaying = this.playing;
    const at = this.now;
    this.stop();
    this.buffers[name] = buffer;
    this.position = Math.min(at, this.duration);
    if (wasPlaying) this.play();
    this.changed();
  }

  get duration() {
    return Math.max(this.buffers.a?.duration ?? 0, this.buffers.b?.duration ?? 0);
  }

  get now() {
    if (!this.playing) return this.position;
    const at = this.context.currentTime - this.began;
    return this.loop ? at % this.duration : Math.min(at, this.duration);
  }

  async play() {
    if (this.playing || !this.duration) return;
    this.playing = true;
    await this.context.resume();
    if (!this.playing) return;
    if (this.position >= this.duration - 0.01) this.position = 0;
    const start = this.context.currentTime + 0.02;
    this.began = start - this.position;
    this.sources = Object.entries(this.buffers).filter(([, buffer]) => buffer).map(([name, buffer]) => {
      const source = new AudioBufferSourceNode(this.context, { buffer, loop: this.loop });
      source.connect(this.gains[name]);
      source.start(start, Math.min(this.position, buffer.duration));
      return source;
    });
    const run = this.sources;
    const longest = this.sources.reduce((one, other) => (one.buffer.duration >= other.buffer.duration ? one : other));
    longest.onended = () => {
      if (this.sources === run && this.playing) {
        this.stop();
        this.position = 0;
        this.changed();
      }
    };
    this.hear(this.heard);
    this.changed();
  }

  stop() {
    if (!this.playing) return;
    this.position = this.now;
    this.playing = false;
    for (const source of this.sources ?? []) {
      source.onended = null;
      source.stop();
    }
    this.sources = [];
    this.changed();
  }

  toggle() {
    return this.playing ? this.stop() : this.play();
  }

  seek(seconds) {
    const wasPlaying = this.playing;
    this.stop();
    this.position = Math.max(0, Math.min(seconds, this.duration));
    if (wasPlaying) this.play();
    this.changed();
  }

  setLoop(loop) {
    this.position = this.now;
    this.loop = loop;
    if (this.playing) this.seek(this.position);
  }

  hear(name) {
    this.heard = name;
    if (!this.context) return;
    for (const [other, gain] of Object.entries(this.gains)) {
      const now = this.context.currentTime;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(other === name ? 1 : 0, now + FADE_SECONDS);
    }
    this.changed();
  }
}

// A blind test: which of the two X is, and the tally of answers.
export class BlindTest {
  constructor() {
    this.reset();
  }

  reset() {
    this.right = this.answers = 0;
    this.running = false;
  }

  draw() {
    this.running = true;
    this.x = crypto.getRandomValues(new Uint8Array(1))[0] & 1 ? "a" : "b";
  }

  answer(name) {
    const wasRight = name === this.x;
    this.answers++;
    if (wasRight) this.right++;
    this.draw();
    return wasRight;
  }

  // The probability of at least as many right answers by guessing.
  get chance() {
    let sum = 0, ways = 1;
    for (let k = 0; k <= this.answers; k++) {
      if (k >= this.right) sum += ways;
      ways = (ways * (this.answers - k)) / (k + 1);
    }
    return sum / 2 ** this.answers;
  }
}
