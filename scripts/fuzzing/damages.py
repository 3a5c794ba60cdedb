"""Changes to bytes, files and JSON values."""

import copy
import json
import os

VALUES: tuple = (
    None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**30, 0.5, -0.0, 1e-300, 1e300, "", "a", "linear", "relu",
    "float32",
    "bfloat16", "../../outside", "/dev/zero", "keras_coda>CoDANet", "\x00", "\ud800", "\x1b[2J", [], {},
    [[]], [None], [1] * 2000,
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "Lambda", "module": "keras.layers", "config": {}, "registered_name": None},
    {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
)  # fmt: skip


def flip_bits(rng, content):
    """Flip one bit, sometimes two or sixteen."""
    content = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 16]))):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def cut(rng, content):
    return content[: rng.integers(len(content))]


def insert(rng, content):
    at = rng.integers(len(content) + 1)
    return content[:at] + rng.bytes(int(rng.choice([1, 4, 1000]))) + content[at:]


def remove(rng, content):
    at, count = rng.integers(len(content)), int(rng.choice([1, 4, 100]))
    return content[:at] + content[at + count :]


def repeat(rng, content):
    start, end = sorted(rng.integers(len(content) + 1, size=2))
    return content[:end] + content[start:]


def zeros(rng, content):
    at, count = rng.integers(len(content)), int(rng.choice([1, 8, 512]))
    return (content[:at] + bytes(count) + content[at + count :])[: len(content)]


def noise(rng, content):
    return rng.bytes(int(rng.choice([0, 1, 100, len(content)])))


DAMAGES = (flip_bits, flip_bits, flip_bits, cut, insert, remove, repeat, zeros, noise)


def damage(rng, path):
    change = DAMAGES[rng.integers(len(DAMAGES))]
    before = path.read_bytes()
    path.write_bytes(change(rng, before))
    return f"{change.__name__} of {path.name}"


def replace_file(rng, path):
    """Replace a file by nothing, a directory, a pipe, or a link to something else."""
    content = path.read_bytes()
    path.unlink()
    kind = rng.choice(["nothing", "directory", "pipe", "/dev/zero", "/dev/urandom", "loop", "link", "secret"])
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link":  # as in the Hub's cache
        path.with_name("blob").write_bytes(content)
        path.symlink_to("blob")
    elif kind == "secret":
        path.symlink_to("../../outside/secret.json")
    elif kind != "nothing":
        path.symlink_to(kind)
    return f"{kind} in the place of {path.name}"


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def edit_json(rng, path):
    """Replace or remove a value somewhere in a JSON file."""
    value = json.loads(path.read_text())
    found = [place for place in places(value) if place]
    place = found[rng.integers(len(found))]
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    which = rng.integers(4)
    if which == 0:
        del holder[place[-1]]
    elif which == 1:
        others = [other for other in places(value) if other]
        other = value
        for key in others[rng.integers(len(others))]:
            other = other[key]
        holder[place[-1]] = copy.deepcopy(other)
    else:
        holder[place[-1]] = VALUES[rng.integers(len(VALUES))]
    text = json.dumps(value, indent=2)
    if rng.random() < 0.1:
        text = text.replace("1", str(rng.choice(["1e999", "NaN", "-Infinity", "1" * 5000])), 1)
    path.write_text(text)
    return f"{path.name}: {'.'.join(map(str, place))}"
