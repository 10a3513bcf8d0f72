"""Takes a GGUF apart far enough to damage it on purpose: where its header's parts lie, and a copy
with another value of one key. Source: ggml's docs/gguf.md."""

import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
ALIGNMENT = 32


class Header:
    """Offsets of everything before the tensor data."""

    def __init__(self, data):
        self.data = data
        self.at = 4
        self.version = self._u32()
        self.tensor_count = self._u64()
        self.key_count = self._u64()
        self.keys = {}     # name → (where its type stands, where its value ends)
        for _ in range(self.key_count):
            name = self._string()
            begin = self.at
            self._skip(self._u32())
            self.keys[name] = (begin, self.at)
        self.tensors_at = self.at
        self.tensors = []  # where the offset field of each stands
        for _ in range(self.tensor_count):
            self._string()
            dimensions = self._u32()
            self.at += dimensions * 8 + 4
            self.tensors.append(self.at)
            self.at += 8
        self.end = self.at
        self.data_at = aligned(self.end)

    def _u32(self):
        self.at += 4
        return struct.unpack_from("<I", self.data, self.at - 4)[0]

    def _u64(self):
        self.at += 8
        return struct.unpack_from("<Q", self.data, self.at - 8)[0]

    def _string(self):
        size = self._u64()
        self.at += size
        return self.data[self.at - size:self.at].decode(errors="replace")

    def _skip(self, kind):
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            of, count = self._u32(), self._u64()
            if of in SIZES:
                self.at += SIZES[of] * count
            else:
                for _ in range(count):
                    self._skip(of)
        else:
            self.at += SIZES[kind]


def aligned(offset):
    return -(-offset // ALIGNMENT) * ALIGNMENT


def with_text(data, key, text):
    """The whole file with the text value of `key` replaced."""
    header = Header(data)
    begin, end = header.keys[key]
    value = struct.pack("<IQ", STRING, len(text.encode())) + text.encode()
    front = data[:begin] + value + data[end:header.end]
    return front.ljust(aligned(len(front)), b"\0") + data[header.data_at:]
