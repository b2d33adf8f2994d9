// The page around the player: files that are chosen or dropped, addresses.

const player = document.querySelector("dacz-audio");
const file = document.querySelector("#file");

function open(chosen) {
  if (chosen) player.load(chosen);
}

file.onchange = () => open(file.files[0]);
document.querySelector("#open").onsubmit = (event) => {
  event.preventDefault();
  const url = document.querySelector("#url").value.trim();
  if (url) player.load(url);
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.ondragleave = (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  open(event.dataTransfer.files[0]);
};

const given = new URLSearchParams(location.search).get("src");
if (given) player.setAttribute("src", given);
