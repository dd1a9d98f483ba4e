/* A folder that stands for the root of the file system: files of the kernel as a test wants them.
 */
#ifndef FAKE_ROOT_H
#define FAKE_ROOT_H

/* Of a test, for cmocka: an empty one, and its end. */
int fake_root_set_up(void **state);
int fake_root_tear_down(void **state);

/* Its path. */
const char *fake_root(void);
/* Writes a file, such as /proc/self/status, with the folders that it needs. */
void fake_root_put(const char *name, const char *text);

#endif
