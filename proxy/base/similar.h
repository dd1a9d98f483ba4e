/* How alike two names are, for messages that ask "did you mean". */
#ifndef BASE_SIMILAR_H
#define BASE_SIMILAR_H

#include <stddef.h>

/* Levenshtein's distance: bytes to insert, delete or change. SIZE_MAX if a name is too long to be
 * compared (40 bytes). */
size_t similar_distance(const char *a, const char *b);

#endif
