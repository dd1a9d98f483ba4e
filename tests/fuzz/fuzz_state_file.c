/* State files of any content. The first byte chooses: 0: the bytes are the file. Else they are what
 * stands in the chunks of one that is sealed under the right key, which is what only a gate, or a
 * bug in it, can write: kind, offset (8), size (2) and content of each. What is read fits into the
 * memory; nothing is read of a file without an end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "run/state_forge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 256 * 1024, MEMORY_BYTES = 1 << 20, CHUNK_HEAD = 11 };

static const uint8_t key[32] = "the key of the fuzz target";

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* The size of the file. */
static size_t seal(uint8_t *out, uint8_t how, const uint8_t *data, size_t size)
{
    struct state_facts facts = {.memory_bytes = MEMORY_BYTES};
    struct state_forge forge;
    state_forge_begin(&forge, out, key, how);
    if ((how & 1) != 0)
        state_forge_facts(&forge, &facts);
    while (size >= CHUNK_HEAD && forge.size + FORGE_CHUNK_BYTES + UINT16_MAX < ROOM) {
        uint64_t offset = (uint64_t)bytes_get32(data + 1) << 32 | bytes_get32(data + 5);
        size_t bytes = bytes_get16(data + 9);
        uint8_t kind = data[0];
        data += CHUNK_HEAD;
        size -= CHUNK_HEAD;
        if (bytes > size)
            bytes = size;
        state_forge_chunk(&forge, kind, offset, data, bytes);
        data += bytes;
        size -= bytes;
    }
    return forge.size;
}

static void read_file(int file)
{
    struct state_facts facts;
    struct state_seal *reader;
    struct stat info;
    struct err err = {0};
    if (state_seal_open(&reader, file, key, &facts, &err) != STATE_SEAL_GOOD) {
        must(reader == NULL && err.text[0] != '\0');
        return;
    }
    int memory = memfd_create("memory", MFD_CLOEXEC);
    must(memory >= 0 && ftruncate(memory, MEMORY_BYTES) == 0);
    /* As the gate does: another size is refused before that. */
    if (facts.memory_bytes == MEMORY_BYTES)
        must(state_seal_read(reader, memory, &err) || err.text[0] != '\0');
    must(fstat(memory, &info) == 0 && info.st_size == MEMORY_BYTES);
    close(memory);
    state_seal_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[ROOM];
    if (size == 0 || size > ROOM / 2)
        return 0;
    int file = memfd_create("file", MFD_CLOEXEC);
    must(file >= 0);
    size_t file_size = size - 1;
    const uint8_t *bytes = data + 1;
    if (data[0] != 0) {
        file_size = seal(sealed, data[0], data + 1, size - 1);
        bytes = sealed;
    }
    must(write(file, bytes, file_size) == (ssize_t)file_size && lseek(file, 0, SEEK_SET) == 0);
    read_file(file);
    close(file);
    return 0;
}
