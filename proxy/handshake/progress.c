#include "handshake/progress.h"

#include "wire/message.h"

enum {
    /* Largest datagram that needs no luck: 576 bytes without the headers. */
    SMALL_BYTES = 548,
};

/* By its first record. What is protected may turn out to be something else. */
static enum progress_answer kind_of(const uint8_t *data, size_t len)
{
    bool is_plain = len > RECORD_HEADER_BYTES && record_is_plaintext(data);
    if (len == 0)
        return PROGRESS_ANSWER_NONE;
    if (is_plain && data[0] == RECORD_HANDSHAKE &&
        data[RECORD_HEADER_BYTES] == HANDSHAKE_CLIENT_HELLO)
        return PROGRESS_ANSWER_HELLO;
    if (is_plain && data[0] == RECORD_ACK)
        return PROGRESS_ANSWER_ACK;
    return PROGRESS_ANSWER_PART;
}

void progress_on_feed(struct progress *progress, const uint8_t *data, size_t len)
{
    progress->fed = (uint8_t)kind_of(data, len);
    progress->is_fed_ciphertext = len > 0 && record_is_ciphertext13(data[0]);
}

void progress_on_fed(struct progress *progress, bool was_discarded, bool was_ack)
{
    uint8_t fed = progress->fed;
    progress->fed = PROGRESS_ANSWER_NONE;
    if (progress->is_fed_ciphertext && was_discarded)
        return; /* anybody's */
    if (fed == PROGRESS_ANSWER_PART && progress->is_fed_ciphertext && was_ack)
        fed = PROGRESS_ANSWER_ACK;
    progress->came_back |= (uint8_t)(1u << fed);
}

void progress_on_record(struct progress *progress, size_t len, bool has_joined)
{
    size_t bytes = has_joined ? progress->datagram_bytes + len : len;
    progress->datagram_bytes = (uint16_t)bytes;
    if (progress->datagram_bytes > progress->largest_bytes)
        progress->largest_bytes = progress->datagram_bytes;
}

void progress_on_flight(struct progress *progress)
{
    if (progress->sent == 0)
        progress->came_back = 0; /* what came so far belongs to the device's hello */
    if (progress->sent < UINT16_MAX)
        progress->sent++;
}

static const char *words_on_lost_flight(const struct progress *progress)
{
    if (progress->largest_bytes <= SMALL_BYTES)
        return "it repeats its hello: nothing larger than the cookie reaches it, or it drops this "
               "flight";
    return "it repeats its hello: datagrams of this size do not reach it; try a smaller mtu";
}

struct progress_story progress_tell(const struct progress *progress, bool has_unreadable)
{
    uint8_t came_back = progress->came_back;
    if (progress->sent == 0)
        return (struct progress_story){
            3, "part", "the rest of its hello did not come: the path loses its large datagrams"};
    if (has_unreadable)
        return (struct progress_story){5, "unreadable", "its answer came and does not decrypt"};
    if ((came_back & 1u << PROGRESS_ANSWER_PART) != 0)
        return (struct progress_story){
            5, "part",
            "it has the flight, and not all of its answer arrives: the path loses its large "
            "datagrams, or it fell silent"};
    if ((came_back & 1u << PROGRESS_ANSWER_ACK) != 0)
        return (struct progress_story){
            4, "ack",
            "it acknowledges what arrives and goes no further: the path loses the larger "
            "datagrams, or it fell silent; try a smaller mtu"};
    if ((came_back & 1u << PROGRESS_ANSWER_HELLO) != 0)
        return (struct progress_story){4, "hello", words_on_lost_flight(progress)};
    return (struct progress_story){4, "none", "it fell silent, or nothing reaches it any more"};
}
