/* Includes counters.def with empty definitions for the macros that the includer did not define,
 * and undefines them all: no include guard, on purpose. */
#ifndef CLIENT_OUTCOME
#define CLIENT_OUTCOME(name, help)
#endif
#ifndef BACKEND_OUTCOME
#define BACKEND_OUTCOME(name, help)
#endif
#ifndef CLOSE_REASON
#define CLOSE_REASON(code, name, help)
#endif
#ifndef HANDSHAKE_RESULT
#define HANDSHAKE_RESULT(name, help)
#endif
#ifndef COUNTER
#define COUNTER(name, help)
#endif
#ifndef GAUGE
#define GAUGE(name, help)
#endif
#ifndef MINIMUM
#define MINIMUM(name, help)
#endif
#ifndef DURATION
#define DURATION(name, help)
#endif

#include "count/counters.def"

#undef CLIENT_OUTCOME
#undef BACKEND_OUTCOME
#undef CLOSE_REASON
#undef HANDSHAKE_RESULT
#undef COUNTER
#undef GAUGE
#undef MINIMUM
#undef DURATION
