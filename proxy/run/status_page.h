/* The page at / of the metrics address: one piece of HTML, CSS and JavaScript in the program, made
 * of status_page.html. It draws what /status, /history and /sessions say, and asks nobody else. */
#ifndef STATUS_PAGE_H
#define STATUS_PAGE_H

const char *status_page_text(void);
/* For the header Content-Security-Policy: this page and its own script, nothing else. */
const char *status_page_policy(void);
const char *status_page_etag(void);

#endif
