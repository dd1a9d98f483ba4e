/* Whether a session has ended for a cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "property/property_model.h"

/* Its device said so. */
static bool is_asked_for(const struct model *model, uint32_t life, enum close_reason reason)
{
    for (uint32_t i = 0; i < model->from_client_count; i++) {
        const struct origin *origin = &model->from_client[i].origin;
        if (origin->life == life &&
            (reason == CLOSE_closed_by_client ? origin->is_close : origin->is_alert))
            return true;
    }
    return false;
}

/* By a session that began at its address; by one of the same device, if it does not need it. */
static bool is_replaced(const struct model *model, const struct life *old)
{
    for (uint32_t i = 0; i < model->began_count; i++) {
        const struct life *life = &model->lives[model->began[i]];
        if (life != old && model_is_session_at(model, model->began[i], old->listener, &old->addr) &&
            (old->cid_len == 0 || model_is_same_identity(life, old)))
            return true;
    }
    return false;
}

/* It made way in a table that was full, and no other was unused for longer. */
static bool is_evicted(const struct model *model, const struct life *evicted)
{
    uint32_t max = model->gate->generation->config->gate.max_sessions;
    if (model->is_reloading
            ? model->live_count != max
            : model->began_count == 0 || model->live_count + model->ended_count < max)
        return false;
    for (uint32_t i = 0; i < model->live_count; i++) {
        const struct life *life = &model->lives[model->live[i]];
        if (life->used_step != model->step && life->used_ms < evicted->used_ms)
            return false;
    }
    return true;
}

uint64_t model_idle_timeout_of(const struct model *model, const struct life *life)
{
    const struct listener_config *config = &model->listeners[life->listener].config;
    return life->cid_len != 0 ? config->idle_timeout_cid_ms : config->idle_timeout_ms;
}

/* An operator has asked for it, or the model itself for a kill at that moment. */
static bool is_condemned(const struct life *life)
{
    return life->is_condemned && life->verdict == life->reason;
}

void model_check_end(const struct model *model, uint32_t index)
{
    const struct life *life = &model->lives[index];
    uint64_t idle_ms = model_idle_timeout_of(model, life);
    bool is_right = false;
    switch (life->reason) {
    case CLOSE_closed_by_client: is_right = is_asked_for(model, index, life->reason); break;
    case CLOSE_fatal_alert:
        is_right = is_asked_for(model, index, life->reason) || life->is_broken;
        break;
    case CLOSE_forgery_limit: break; /* so many are not sent here */
    case CLOSE_key_limit: is_right = model->has_low_limits; break;
    case CLOSE_idle: is_right = model->gate->now_ms - life->used_ms >= idle_ms; break;
    case CLOSE_evicted: is_right = is_condemned(life) || is_evicted(model, life); break;
    case CLOSE_replaced: is_right = is_replaced(model, life); break;
    case CLOSE_shutdown: is_right = model->is_stopping; break;
    case CLOSE_revoked:
    case CLOSE_listener_removed:
    case CLOSE_closed_by_operator:
    case CLOSE_torn: is_right = is_condemned(life); break;
    case CLOSE_cid_length_changed:
    case CLOSE_other_machine: break; /* both are always the same here */
    case CLOSE_REASON_COUNT: break;
    }
    if (!is_right)
        fail_msg("the session of life %u, %s, ended as %s without cause", index, life->kind->name,
                 close_reason_name(life->reason));
}
