/* Tells the address sanitizer what of our own memory is not in use, and where pointers to what was
 * allocated lie. Nothing in other builds. */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define POISON_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_HAS_ASAN 1
#endif
#endif

#ifdef POISON_HAS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define POISON_ON(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define POISON_OFF(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#define POISON_REGISTER(at, size) __lsan_register_root_region(at, size)
#define POISON_UNREGISTER(at, size) __lsan_unregister_root_region(at, size)
#else
#define POISON_ON(at, size) ((void)0)
#define POISON_OFF(at, size) ((void)0)
#define POISON_REGISTER(at, size) ((void)0)
#define POISON_UNREGISTER(at, size) ((void)0)
#endif

#endif
