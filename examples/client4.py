#!/usr/bin/env python3
"""Files to remote tasks, and files with their results back to this program.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client4.py          or, without any node:  python client4.py --local

Which words are frequent in a text, apart from those that are frequent in all?  A file that all tasks need is a
component of the client: it travels once to each node.  What one task needs is sent to its server; what it has found
comes back as a file.
"""

import tempfile
from collections import Counter
from pathlib import Path

from _options import use_cluster

from parkcos import Client, Parkcos, Task, run

COMMON = "a and in of that the to was"
TEXTS = {
    "sea.txt": "the sea was calm and the ship lay in the calm of the sea until the sea rose",
    "wood.txt": "in the wood a fox and a crow spoke of cheese and the crow sang and the cheese fell",
    "city.txt": "a bell in the city rang and a second bell in the city rang and the city woke",
}


def frequent(home, task=None):
    """Runs at a server: counts the words of a text; the files of both are beside it."""
    text = Path((yield task.receive()))  # is here now: the task's own folder is where files for its server arrive
    common = set(Path("../common.txt").read_text().split())  # a component: one folder up, for all servers of the node
    counts = Counter(word for word in text.read_text().split() if word not in common)
    result = text.with_suffix(".result")
    result.write_text("".join(f"{count} {word}\n" for word, count in counts.most_common(3)))
    if (yield Parkcos().send_file(home.location, result, overwrite=True)):
        raise OSError(f"{result} could not be sent; the log says why")
    return result.name


def one_text(client, path, task=None):
    """Runs here, once for each text."""
    rtask = yield client.rtask(frequent, task)
    if (yield Parkcos().send_file(rtask.location, path)):
        raise OSError(f"{path} could not be sent; the log says why")
    rtask.send(path.name)
    received = Parkcos().dest_path / (yield rtask.result())  # where this program's files arrive
    print(f"{received.name} from {rtask.location}: {', '.join(received.read_text().splitlines())}", flush=True)
    received.unlink()


def main(folder):
    """Runs here: all texts at once, as far as there are servers."""
    with Client([frequent, folder / "common.txt"]) as client:
        yield client.schedule()
        for task in [Task(one_text, client, folder / name) for name in TEXTS]:
            yield task.result()


if __name__ == "__main__":
    use_cluster(__doc__)
    with tempfile.TemporaryDirectory() as made:
        for name, words in [("common.txt", COMMON), *TEXTS.items()]:
            Path(made, name).write_text(words)
        run(main, Path(made))
