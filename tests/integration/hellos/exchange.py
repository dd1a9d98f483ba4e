"""What a gate makes of many hellos: each from a port of its own, the cookie exchange included."""

import select
import socket

import records
from environment import TIME_FACTOR, own_address
from hellos.hello import (ASKED, KEY_SHARE, P256, P256_SHARE, REFUSED, SERVED, SHARE, SILENT,
                          X25519, Answer, Hello, datagram, find_extension, list16, read_datagram,
                          share)

_QUIET_S = 0.03  # without an answer, after the hello behind a batch was answered
_BATCH, _BATCH_BYTES, _FIRST_PORT = 60, 60000, 20000  # little enough for a socket's buffer
_PROBE = Hello("probe")


def _second(hello, answer):
    """The hello with the cookie, and with the key share that the answer asks for."""
    wanted = answer.retry and find_extension(answer.retry, KEY_SHARE)
    retried = hello
    if wanted:
        group = int.from_bytes(wanted, "big")
        entry = (KEY_SHARE, list16(share(group, {P256: P256_SHARE, X25519: SHARE}[group])))
        retried = hello.but("", extensions=tuple(entry if e[0] == KEY_SHARE else e
                                                 for e in hello.extensions))
    return datagram(retried, answer.cookie, answer.retry, first=hello)


def _is_alone(data):
    """A ServerHello of DTLS 1.3 without the encrypted rest of its flight: over a bad key share the
    library stops there."""
    return sum(records.RECORD_HEADER_BYTES + len(r.body) for r in records.split(data)) == len(data)


class Exchange:
    def __init__(self, gate):
        self._gate, self._host, self._ports = gate, own_address(), 0

    def verdicts(self, hellos):
        """{name: Answer}"""
        found, batch = {}, []
        for hello in hellos:
            batch.append(hello)
            if len(batch) == _BATCH or sum(len(datagram(h)) for h in batch) > _BATCH_BYTES:
                found.update(self._verdicts(batch))
                batch = []
        return {**found, **self._verdicts(batch)}

    def _socket(self):
        """No port is used twice: the gate repeats flights to those of earlier hellos."""
        device = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        device.bind((self._host, _FIRST_PORT + self._ports))
        device.connect(self._gate)
        self._ports += 1
        return device

    def _verdicts(self, hellos):
        sockets = {hello: self._socket() for hello in hellos}
        try:
            answers = self._flight({hello: (sockets[hello], datagram(hello)) for hello in hellos})
            again = {hello: (sockets[hello], _second(hello, answer))
                     for hello, answer in answers.items() if answer.verdict == ASKED}
            answers.update(self._flight(again))
            return {hello.name: answer for hello, answer in answers.items()}
        finally:
            for device in sockets.values():
                device.close()

    def _flight(self, datagrams):
        """What came of each of them. They are followed by a hello that is answered, so that silence
        is silence and not slowness. An alert behind a ServerHello is a refusal."""
        hellos, answers = {}, {}
        for hello, (device, data) in datagrams.items():
            device.send(data)
            hellos[device] = hello
        with self._socket() as probe:
            probe.send(datagram(_PROBE))
            probe.settimeout(10 * TIME_FACTOR)
            assert read_datagram(probe.recv(65536)).verdict == ASKED
        while ready := select.select(list(hellos), [], [], _QUIET_S * TIME_FACTOR)[0]:
            for device in ready:
                hello, data = hellos[device], device.recv(65536)
                answer = read_datagram(data)
                if answer and answer.verdict == SERVED and hello.is_13 and _is_alone(data):
                    answer = Answer(REFUSED)
                if answer and (hello not in answers or answer.verdict == REFUSED):
                    answers[hello] = answer
        return {hello: answers.get(hello, Answer(SILENT)) for hello in datagrams}


def is_served(answer):
    return answer.verdict == SERVED
