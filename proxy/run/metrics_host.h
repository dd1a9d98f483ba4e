/* Whether a request to the metrics address may have come from a page of another site, by DNS
 * rebinding: such a page has a name of its own, and has that point to the gate's address. Then a
 * browser that can reach the address reads it out to the page. What gives it away is the Host
 * header, which a page cannot choose. */
#ifndef METRICS_HOST_H
#define METRICS_HOST_H

/* NULL: it may be answered. The host is an address ("192.0.2.1", "[2001:db8::1]") or localhost,
 * with or without a port; or it is NULL, there was no such header: each browser sends one. Or the
 * path is one of scrapers and probes: they come by names, and learn of no device. Otherwise a
 * literal that says what to do. */
const char *metrics_host_refusal(const char *path, const char *host);

#endif
