#include "worker/hello_share.h"

enum {
    /* An eighth of the time: at some 15 us a hello, 8,000 of them per second. */
    SHARE = 8,
    /* What sessions wait for while hellos have their turn: some 0.25 ms. */
    QUOTA_BUSY = 16,
    QUOTA_ALONE = 64,
    AVERAGE_OVER = 8,
};

/* The next datagram of a session comes soon after the last one, or there is no hurry. */
static const uint64_t DATA_RECENT_NS = 100 * 1000000;
/* What a pause of the strangers earns them at most: some 1,000 hellos at once. */
static const int64_t CREDIT_MAX_NS = 15 * 1000000;

void hello_share_init(struct hello_share *share, uint64_t now_ns)
{
    *share = (struct hello_share){.credit_ns = CREDIT_MAX_NS, .refilled_ns = now_ns};
}

uint32_t hello_share_quota(struct hello_share *share, uint64_t data_count, uint64_t now_ns)
{
    if (share->data_seen != data_count) {
        share->data_seen = data_count;
        share->data_seen_ns = now_ns;
    }
    share->credit_ns += (int64_t)((now_ns - share->refilled_ns) / SHARE);
    share->refilled_ns = now_ns;
    if (share->credit_ns > CREDIT_MAX_NS)
        share->credit_ns = CREDIT_MAX_NS;
    if (share->data_seen == 0 || now_ns - share->data_seen_ns >= DATA_RECENT_NS) {
        if (share->credit_ns < 0)
            share->credit_ns = 0;
        return QUOTA_ALONE;
    }
    return share->credit_ns > 0 ? QUOTA_BUSY : 0;
}

void hello_share_spend(struct hello_share *share, uint32_t count, uint32_t begun, uint64_t spent_ns)
{
    if (begun == 0) {
        uint64_t cost_ns = spent_ns / count;
        share->cost_ns = share->cost_ns == 0
                             ? cost_ns
                             : (share->cost_ns * (AVERAGE_OVER - 1) + cost_ns) / AVERAGE_OVER;
    } else {
        uint64_t without_begun_ns = (count - begun) * share->cost_ns;
        if (spent_ns > without_begun_ns)
            spent_ns = without_begun_ns;
    }
    share->credit_ns -= (int64_t)spent_ns;
}

uint64_t hello_share_pause_ms(const struct hello_share *share)
{
    uint64_t debt_ns = share->credit_ns < 0 ? (uint64_t)-share->credit_ns : 0;
    return debt_ns * SHARE / 1000000 + 1;
}
