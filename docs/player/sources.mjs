// Where a file's bytes come from, a part at a time: { size, isLocal, read(from, to) }.

const FIRST_BYTES = 2 ** 16; // more than any header

export function blobSource(blob) {
  return {
    size: blob.size,
    isLocal: true,
    read: async (from, to) => new Uint8Array(await blob.slice(from, to).arrayBuffer()),
  };
}

// Parts by range requests; the whole at once from a server that has none, or that does not let this page see the file's length.
export async function urlSource(url) {
  const answer = await fetch(url, ranged(0, FIRST_BYTES));
  const size = sizeOf(answer);
  if (!size) return blobSource(await (await fetched(url, answer.status === 200 ? answer : await fetch(url))).blob());
  const first = new Uint8Array(await answer.arrayBuffer());
  return {
    size,
    isLocal: false,
    async read(from, to) {
      if (to <= first.length) return first.subarray(from, to);
      const part = await fetched(url, await fetch(url, ranged(from, to)));
      const bytes = new Uint8Array(await part.arrayBuffer());
      if (sizeOf(part) !== size || bytes.length !== to - from) throw new Error(`${url} changed while it was read`);
      return bytes;
    },
  };
}

const ranged = (from, to) => ({ headers: { Range: `bytes=${from}-${to - 1}` } });

// Of the whole file, where `answer` holds a part of it.
const sizeOf = (answer) => (answer.status === 206 ? Number(answer.headers.get("content-range")?.split("/")[1]) : null);

function fetched(url, answer) {
  if (!answer.ok) throw new Error(`${url} could not be fetched: ${answer.status} ${answer.statusText}`);
  return answer;
}
