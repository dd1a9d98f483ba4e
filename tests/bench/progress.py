"""What is shown while the benchmark runs, and how long its parts may take."""

import sys
import time

# Of the time that the parts have together; what one leaves over, the later ones may use.
SHARES = {"speed": 55, "offered": 16, "workers": 10, "flood": 6, "reconnect": 13}
SHARES |= {"reloads": 20, "restarts": 40, "cost": 40}


class Progress:
    """Bounds the time: a part that is late makes fewer turns, one at least, and the report says how
    many there were."""

    def __init__(self, minutes, parts, stream=sys.stderr, clock=time.monotonic):
        self.stream, self.clock = stream, clock
        self.start = clock()
        self.end = self.start + 60 * minutes
        self.part_end = self.end
        self.part = ""
        self.parts_left = [part for part in parts if part in SHARES]

    def begin(self, part):
        self.part = part
        shares = sum(SHARES[other] for other in self.parts_left)
        if part in self.parts_left:
            self.parts_left.remove(part)
            left = self.end - self.clock()
            self.part_end = self.clock() + left * SHARES[part] / shares

    def turns(self, most, needed=1):
        """0, 1, ... as long as there is time for one more like the last; always the first ones
        that are needed."""
        for turn in range(most):
            begin = self.clock()
            yield turn
            end = self.clock()
            if turn + 1 >= needed and turn + 1 < most and 2 * end - begin > self.part_end:
                self.show(f"only {turn + 1} of {most} turns: its share of the time is over")
                return

    def show(self, text):
        passed = int(self.clock() - self.start)
        line = f"[{passed // 60}:{passed % 60:02d}] {self.part}: {text}"
        if self.stream.isatty():
            print(f"\r\033[K{line}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def clear(self):
        """The line is free for something else."""
        if self.stream.isatty():
            print("\r\033[K", end="", file=self.stream, flush=True)
