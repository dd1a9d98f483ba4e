#include "wire/record.h"

bool record_window_has(const struct record_window *window, uint64_t number)
{
    if (number >= window->next)
        return false;
    uint64_t age = window->next - 1 - number;
    return age >= RECORD_WINDOW_BITS || (window->seen >> age & 1) != 0;
}

void record_window_take(struct record_window *window, uint64_t number)
{
    if (number < window->next) {
        uint64_t age = window->next - 1 - number;
        if (age < RECORD_WINDOW_BITS)
            window->seen |= (uint64_t)1 << age;
        return;
    }
    uint64_t steps = number + 1 - window->next;
    window->seen = steps < RECORD_WINDOW_BITS ? window->seen << steps | 1 : 1;
    window->next = number + 1;
}

bool record_take_type(struct record_content *content)
{
    while (content->data_len != 0 && content->data[content->data_len - 1] == 0)
        content->data_len--;
    if (content->data_len == 0)
        return false;
    content->type = content->data[--content->data_len];
    return true;
}

struct record_limits record_limits(enum aead aead, bool is_1_3)
{
    const uint64_t two_to_23_5 = 11863283, two_to_24_5 = 23726566;
    switch (aead) {
    case AEAD_AES_128_GCM:
    case AEAD_AES_256_GCM:
        return (struct record_limits){.sealed = two_to_24_5,
                                      .forged = (uint64_t)1 << (is_1_3 ? 36 : 28)};
    case AEAD_AES_128_CCM:
    case AEAD_AES_256_CCM:
        return (struct record_limits){.sealed = (uint64_t)1 << 23, .forged = two_to_23_5};
    case AEAD_AES_128_CCM_8:
    case AEAD_AES_256_CCM_8:
        /* Our own: with the 2^7 of the RFC's example 128 forged datagrams would end a session. */
        return (struct record_limits){.sealed = (uint64_t)1 << 23, .forged = (uint64_t)1 << 20};
    case AEAD_CHACHA20_POLY1305:
        /* The number of a record ends before the key does. */
        return (struct record_limits){.sealed = (uint64_t)1 << 48, .forged = (uint64_t)1 << 36};
    case AEAD_NONE:
    case AEAD_COUNT: break;
    }
    return (struct record_limits){0};
}
