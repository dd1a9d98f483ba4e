#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "creds/psk.h"
#include "fakes/core_dump.h"

#define KEY32 "000102030405060708090a0b0c0d0e0f"

struct fixture {
    char folder[64];
    char path[80];
    struct problems problems;
    struct psk_store *store;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->folder, "/tmp/test_psk.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/devices.psk", f->folder);
    problems_init(&f->problems);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    psk_free(f->store);
    problems_deinit(&f->problems);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void write_file(struct fixture *f, const void *text, size_t size)
{
    FILE *out = fopen(f->path, "w");
    assert_non_null(out);
    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(fwrite(text, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void load_bytes(struct fixture *f, const void *text, size_t size)
{
    psk_free(f->store);
    problems_deinit(&f->problems);
    write_file(f, text, size);
    f->store = psk_load(&(const char *){f->path}, 1, "gate.ini:3: [listener x] psk_file = p",
                        &f->problems);
    assert_true((f->store == NULL) == (f->problems.error_count > 0));
}

static void load(struct fixture *f, const char *text)
{
    load_bytes(f, text, strlen(text));
}

static bool has_problem(const struct fixture *f, const char *part)
{
    for (uint32_t i = 0; i < f->problems.count; i++)
        if (strstr(f->problems.texts[i], part))
            return true;
    return false;
}

static void assert_key(const struct fixture *f, const char *identity, const char *hex)
{
    size_t size = 0;
    const uint8_t *key = psk_find(f->store, identity, strlen(identity), &size);
    assert_non_null(key);
    char text[2 * PSK_KEY_MAX + 1] = "";
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", key[i]);
    assert_string_equal(text, hex);
}

static void assert_unknown(const struct fixture *f, const char *identity)
{
    size_t size = 0;
    assert_null(psk_find(f->store, identity, strlen(identity), &size));
}

static void test_finds_each_identity(void **state)
{
    struct fixture *f = *state;
    load(f, "a:" KEY32 "\n"
            "# comment: with colon\n"
            "\n"
            "urn:imei:867000000000001:FFEEDDCCBBAA99887766554433221100\r\n"
            "#revoked:" KEY32 "\n"
            "last:0f0e0d0c0b0a09080706050403020100");
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(psk_count(f->store), 3);
    assert_key(f, "a", KEY32);
    assert_key(f, "urn:imei:867000000000001", "ffeeddccbbaa99887766554433221100");
    assert_key(f, "last", "0f0e0d0c0b0a09080706050403020100");
    assert_unknown(f, "revoked");
    assert_unknown(f, "#revoked");
    assert_unknown(f, "");
    assert_unknown(f, "A");
    assert_unknown(f, "las");
    assert_unknown(f, "lastx");
}

/* Entries overlap the lines that they are made of: all sizes, without slack before them. */
static void test_every_size_of_identity_and_key(void **state)
{
    struct fixture *f = *state;
    for (size_t identity_size = 1; identity_size <= PSK_IDENTITY_MAX; identity_size++) {
        char text[8192], identity[PSK_IDENTITY_MAX + 1], hex[2 * PSK_KEY_MAX + 1];
        size_t key_size = identity_size % PSK_KEY_MAX + 1;
        memset(identity, 'i', sizeof(identity));
        identity[identity_size] = '\0';
        for (size_t i = 0; i < key_size; i++)
            snprintf(hex + 2 * i, 3, "%02x", (unsigned)(7 * i + identity_size) & 255);
        snprintf(text, sizeof(text), "%s:%s\nj%s:%s\n", identity, hex, identity + 1, hex);
        load(f, text);
        assert_int_equal(f->problems.error_count, 0);
        assert_key(f, identity, hex);
        identity[0] = 'j';
        assert_key(f, identity, hex);
    }
}

static void test_identity_of_any_bytes(void **state)
{
    struct fixture *f = *state;
    uint8_t line[256 + 64];
    size_t size = 0;
    for (int byte = 255; byte > 0 && size < PSK_IDENTITY_MAX; byte--)
        if (byte != '\r' && byte != '\n')
            line[size++] = (uint8_t)byte;
    uint8_t identity[PSK_IDENTITY_MAX];
    memcpy(identity, line, size);
    memcpy(line + size, ":" KEY32, 33);
    load_bytes(f, line, size + 33);
    assert_int_equal(f->problems.count, 0);
    size_t key_size = 0;
    assert_non_null(psk_find(f->store, identity, size, &key_size));
    assert_int_equal(key_size, 16);
    load(f, " \t\x01\x7f:" KEY32);
    assert_key(f, " \t\x01\x7f", KEY32);
}

static void assert_bad_line(struct fixture *f, const char *line, size_t size, const char *why)
{
    char text[1024];
    size_t head = (size_t)snprintf(text, sizeof(text), "good:%s\n#\n", KEY32);
    memcpy(text + head, line, size);
    text[head + size] = '\n';
    load_bytes(f, text, head + size + 1);
    assert_null(f->store);
    assert_int_equal(f->problems.error_count, 1);
    assert_true(has_problem(f, "devices.psk:3: "));
    assert_true(has_problem(f, why));
    assert_false(has_problem(f, "c0ffee"));
}

static void test_bad_lines(void **state)
{
    struct fixture *f = *state;
    char big[512];
    assert_bad_line(f, "c0ffee", 6, "no colon");
    assert_bad_line(f, ":c0ffee", 7, "has 0 bytes");
    assert_bad_line(f, "c0ffee:", 7, "0 hex digits");
    assert_bad_line(f, "id:c0ffee1", 10, "7 hex digits");
    assert_bad_line(f, "id:c0ffeeg0", 11, "character 7 of the key");
    assert_bad_line(f, "i\0d:c0ffee", 10, "NUL or CR");
    assert_bad_line(f, "i\rd:c0ffee", 10, "NUL or CR");
    assert_bad_line(f, "id:c0ffee\r\r", 11, "character 7 of the key");
    memset(big, 'a', sizeof(big));
    memcpy(big + PSK_IDENTITY_MAX + 1, ":c0ffee", 7);
    assert_bad_line(f, big, PSK_IDENTITY_MAX + 8, "has 129 bytes");
    memset(big, 'a', sizeof(big));
    memcpy(big, "id:", 3);
    assert_bad_line(f, big, 3 + 2 * PSK_KEY_MAX + 2, "130 hex digits");
}

/* What people write in place of a key; none of it is shown. */
static void test_keys_in_other_forms(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"id:0xc0ffee", "begins with 0x; leave it out"},
        {"id:0XC0FFEE", "begins with 0x; leave it out"},
        {"id:c0ffee ", "a space stands in the key after the last colon, or beside it"},
        {"id: c0ffee", "a space stands in the key"},
        {"id:c0 ff ee", "a space stands in the key"},
        {"id:c0ffee\t# meter", "a space stands in the key"},
        {"id:\"c0ffee\"", "is in quotes; leave them out"},
        {"id:'c0ffee'", "is in quotes; leave them out"},
        {"id:AAECAwQFBgcICQoLDA0ODw==", "not in hex; if it is base64, this gives its hex digits"},
        {"id:c0ffee/0", "not in hex; if it is base64"},
        {"id:c0ffeewxyz", "base64 -d | od -An -v -tx1 | tr -d ' \\n'"},
        {"id:c0ffeegh", "character 7 of the key after the last colon is not a hex digit"},
        {"id:c0ffee;", "character 7 of the key"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_bad_line(f, cases[i].line, strlen(cases[i].line), cases[i].why);
}

static void test_space_beside_an_identity_warns_once(void **state)
{
    struct fixture *f = *state;
    load(f, "a:" KEY32 "\nb :" KEY32 "\n\tc:" KEY32 "\nd e:" KEY32 "\n");
    assert_non_null(f->store);
    assert_int_equal(f->problems.count, 1);
    assert_true(f->problems.is_warning[0]);
    assert_true(has_problem(f, "devices.psk:2: the identity begins or ends with a space, which is "
                               "a part of it (2 such lines in the file)"));
    assert_key(f, "b ", KEY32);
    assert_unknown(f, "b");
}

static void test_utf16(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {{"\xff\xfe"
                  "a\0:\0",
                  6},
                 {"\xfe\xff\0a\0:", 6},
                 {"a\0:\0\n\0b\0", 8},
                 {"\0a\0:", 4}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_bytes(f, cases[i].bytes, cases[i].size);
        assert_null(f->store);
        assert_int_equal(f->problems.count, 1);
        assert_true(has_problem(f, "devices.psk:1: the file is UTF-16; save it as UTF-8"));
    }
}

static void test_files_separated_by_a_space(void **state)
{
    struct fixture *f = *state;
    assert_null(psk_load(&(const char *){"/nowhere/a.psk b.psk"}, 1, "here", &f->problems));
    assert_true(has_problem(f, "several files are separated by commas"));
}

static void test_byte_order_mark(void **state)
{
    struct fixture *f = *state;
    load(f, "\xef\xbb\xbfid:" KEY32 "\nbad\n");
    assert_null(f->store);
    assert_true(has_problem(f, "devices.psk:1: begins with a UTF-8 byte order mark"));
    assert_true(has_problem(f, "devices.psk:2: has no colon"));
}

static void test_repeated_identity(void **state)
{
    struct fixture *f = *state;
    load(f, "a:" KEY32 "\nb:" KEY32 "\na:00112233445566778899aabbccddeeff\n");
    assert_null(f->store);
    assert_true(has_problem(f, "devices.psk:3: repeats the identity of line 1"));
}

static void test_many_errors_are_capped(void **state)
{
    struct fixture *f = *state;
    char text[2048] = "";
    for (int i = 0; i < 50; i++)
        strcat(text, "nocolon\n");
    load(f, text);
    assert_null(f->store);
    assert_int_equal(f->problems.error_count, 21);
    assert_true(has_problem(f, "and 30 more lines with errors"));
}

static void test_short_keys_warn_once(void **state)
{
    struct fixture *f = *state;
    load(f, "a:" KEY32 "\nb:00\nc:000102030405060708090a0b0c0d0e\n");
    assert_non_null(f->store);
    assert_int_equal(f->problems.count, 1);
    assert_true(f->problems.is_warning[0]);
    assert_true(has_problem(f, "devices.psk:2: "));
    assert_true(has_problem(f, "2 such lines"));
}

/* --- a file that ends too early --- */

/* What a cut at this byte leaves of its last line, as a person would see it. */
enum rest { REST_NOTHING, REST_WHOLE_LINE, REST_PART };

static enum rest rest_of(const char *file, size_t cut, size_t *rest_at)
{
    size_t at = cut;
    while (at > 0 && file[at - 1] != '\n')
        at--;
    *rest_at = at;
    if (at == cut || file[at] == '#' || file[at] == '\r')
        return REST_NOTHING;
    return file[cut] == '\r' || file[cut] == '\n' || file[cut - 1] == '\r' ? REST_WHOLE_LINE
                                                                           : REST_PART;
}

/* Keys of the whole lines in the first `size` bytes, which end in a newline. */
static size_t count_keys(const char *file, size_t size)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at = (size_t)(strchr(file + at, '\n') - file) + 1)
        count += strchr("#\r\n", file[at]) == NULL;
    return count;
}

/* Cuts a good file at every byte. Whole lines load, the rest is an error; except that a part of a
 * line was taken for a whole one as often as `taken` says, and a whole one without its newline for
 * a part as often as `refused`. */
static void cut_everywhere(struct fixture *f, const char *file, unsigned taken, unsigned refused)
{
    load(f, file);
    assert_non_null(f->store);
    for (size_t cut = 1; cut < strlen(file); cut++) {
        size_t rest_at;
        enum rest rest = rest_of(file, cut, &rest_at);
        size_t whole_keys = count_keys(file, rest_at);
        load_bytes(f, file, cut);
        switch (rest) {
        case REST_NOTHING:
            if (whole_keys > 0)
                assert_int_equal(psk_count(f->store), whole_keys);
            else
                assert_true(has_problem(f, "holds no key"));
            break;
        case REST_WHOLE_LINE:
            if (f->store != NULL)
                assert_int_equal(psk_count(f->store), whole_keys + 1);
            else
                refused--;
            break;
        case REST_PART:
            assert_true(f->store != NULL || f->problems.error_count == 1);
            taken -= f->store != NULL;
            break;
        }
    }
    assert_int_equal(taken, 0);
    assert_int_equal(refused, 0);
}

static void test_cut_anywhere(void **state)
{
    struct fixture *f = *state;
    /* Keys of 16 bytes, the usual ones: each cut shows. */
    cut_everywhere(f, "a:" KEY32 "\n", 0, 0);
    cut_everywhere(f,
                   "# devices\n\ndevice1:" KEY32 "\r\n"
                   "urn:imei:490154203237518:" KEY32 "\n"
                   "#revoked:" KEY32 "\n"
                   "urn:dev:os:32473-123456:" KEY32 "\r\n"
                   "last:" KEY32 "\n",
                   0, 0);
    /* Short keys, the last of which looks cut unless its line is ended. */
    load(f, "a:0001\nb:0203\n");
    assert_int_equal(psk_count(f->store), 2);
    load(f, "a:0001\nb:0203");
    assert_null(f->store);
    assert_true(has_problem(f, "devices.psk:2: no newline follows this last line, and its key of 2 "
                               "bytes is shorter than 16 bytes"));
    /* Longer keys, after one of them: each cut shows. */
    load(f, "a:" KEY32 KEY32 "\nb:" KEY32 "00");
    assert_null(f->store);
    assert_true(has_problem(f,
                            "devices.psk:2: no newline follows this last line, and its key of 17 "
                            "bytes is shorter than the others"));
    assert_true(has_problem(f, "write a new file and rename it into place"));
}

/* What cannot be told from a complete file, byte for byte. */
static void test_cuts_that_cannot_be_told(void **state)
{
    struct fixture *f = *state;
    /* The first key of a file, if it is longer than 16 bytes: with 16 to 31 of its 32 bytes. The
     * second line shows each cut. */
    cut_everywhere(f, "a:" KEY32 KEY32 "\nb:" KEY32 KEY32 "\n", 16, 0);
    /* A key as long as another line's, where sizes are mixed. */
    cut_everywhere(f, "a:" KEY32 "\nb:" KEY32 KEY32 "\n", 16, 0);
    cut_everywhere(f, "b:" KEY32 KEY32 "\na:" KEY32 "\nc:" KEY32 KEY32 "\n", 17, 1);
    /* An identity that has 16 bytes in hex behind a colon of its own. */
    cut_everywhere(f, "urn:uuid:00112233445566778899aabbccddeeff:" KEY32 "\n", 1, 0);
}

static void test_readable_by_others_warns(void **state)
{
    struct fixture *f = *state;
    const uint32_t modes[] = {0660, 0604, 0644};
    for (size_t i = 0; i < 3; i++) {
        char mode[8];
        snprintf(mode, sizeof(mode), "%04o", modes[i]);
        write_file(f, "a:" KEY32, 34);
        assert_int_equal(chmod(f->path, modes[i]), 0);
        psk_free(f->store);
        problems_deinit(&f->problems);
        f->store = psk_load(&(const char *){f->path}, 1, "w", &f->problems);
        assert_non_null(f->store);
        assert_int_equal(f->problems.count, 1);
        assert_true(f->problems.is_warning[0]);
        assert_true(has_problem(f, mode));
        assert_true(has_problem(f, "chmod 600"));
    }
}

static void assert_not_loaded(struct fixture *f, const char *path, const char *why)
{
    problems_deinit(&f->problems);
    assert_null(
        psk_load(&(const char *){path}, 1, "gate.ini:3: [listener x] psk_file = p", &f->problems));
    assert_int_equal(f->problems.error_count, 1);
    assert_true(has_problem(f, why));
}

static void test_files_that_are_none(void **state)
{
    struct fixture *f = *state;
    assert_not_loaded(f, f->path,
                      "gate.ini:3: [listener x] psk_file = p: the file cannot be opened");
    assert_not_loaded(f, f->folder, "not a regular file");
    assert_not_loaded(f, "/dev/null", "not a regular file");
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_not_loaded(f, f->path, "not a regular file");
    unlink(f->path);
    write_file(f, "", 0);
    assert_not_loaded(f, f->path, "is empty");
    load(f, "# only comments\n\n");
    assert_null(f->store);
    assert_true(has_problem(f, "holds no key"));
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void test_a_million_lines(void **state)
{
    struct fixture *f = *state;
    FILE *out = fopen(f->path, "w");
    assert_non_null(out);
    assert_int_equal(chmod(f->path, 0600), 0);
    for (int i = 0; i < 1000000; i++)
        fprintf(out, "urn:imei:86700000%07d:%08x0405060708090a0b0c0d0e0f\n", i, (unsigned)i);
    assert_int_equal(fclose(out), 0);

    double begin = seconds();
    f->store = psk_load(&(const char *){f->path}, 1, "w", &f->problems);
    double took = seconds() - begin;
    assert_non_null(f->store);
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(psk_count(f->store), 1000000);
    print_message("1000000 lines took %.3f s\n", took);
    /* A release build takes well under 1 s; this is no benchmark, it is to fail if the time grows
     * with the square of the lines. */
    assert_true(took < 30.0);

    for (int i = 0; i < 1000000; i += 997) {
        char identity[64], hex[64];
        snprintf(identity, sizeof(identity), "urn:imei:86700000%07d", i);
        snprintf(hex, sizeof(hex), "%08x0405060708090a0b0c0d0e0f", (unsigned)i);
        assert_key(f, identity, hex);
    }
    assert_unknown(f, "urn:imei:867000001000000");
}

/* The keys lie in a mapping that the kernel leaves out of core dumps (flag dd), and nowhere else.
 */
static void test_left_out_of_core_dumps(void **state)
{
    struct fixture *f = *state;
    load(f, "a:" KEY32 "\n");
    size_t size = 0;
    assert_true(core_dump_leaves_out(psk_find(f->store, "a", 1, &size)));
    assert_false(core_dump_leaves_out(f)); /* what is on the heap is not left out */
}

/* What is left of the file's text behind the entries is wiped, a revoked key too. */
static void test_text_of_the_file_is_wiped(void **state)
{
    struct fixture *f = *state;
    load(f, "a:00112233445566778899aabbccddeeff\n#b:ffeeddccbbaa99887766554433221100\n");
    size_t size = 0;
    const uint8_t *key = psk_find(f->store, "a", 1, &size);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (const uint8_t *p = key + size; (uintptr_t)p % page != 0; p++)
        assert_int_equal(*p, 0);
}

static void test_free_nothing(void **state)
{
    (void)state;
    psk_free(NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* --- several files --- */

/* The fixture's file and a second one. */
static void load_two(struct fixture *f, const char *first, const char *second)
{
    char path[96];
    psk_free(f->store);
    problems_deinit(&f->problems);
    write_file(f, second, strlen(second));
    snprintf(path, sizeof(path), "%s.more", f->path);
    assert_int_equal(rename(f->path, path), 0);
    write_file(f, first, strlen(first));
    f->store = psk_load((const char *[]){f->path, path}, 2, "w", &f->problems);
    assert_int_equal(f->store == NULL, f->problems.error_count > 0);
    unlink(path);
}

static void test_several_files_are_one_store(void **state)
{
    struct fixture *f = *state;
    load_two(f, "a:" KEY32 "\nb:" KEY32 "\n", "c:0f0e0d0c0b0a09080706050403020100\n");
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(psk_count(f->store), 3);
    assert_int_equal(psk_count_of_file(f->store, 0), 2);
    assert_int_equal(psk_count_of_file(f->store, 1), 1);
    assert_key(f, "a", KEY32);
    assert_key(f, "b", KEY32);
    assert_key(f, "c", "0f0e0d0c0b0a09080706050403020100");
    assert_unknown(f, "d");
}

static void test_an_identity_in_two_files_is_told_with_both_places(void **state)
{
    struct fixture *f = *state;
    char text[256];
    load_two(f, "a:" KEY32 "\nb:" KEY32 "\n", "\nc:" KEY32 "\nb:" KEY32 "\nc:" KEY32 "\n");
    assert_int_equal(f->problems.count, 2);
    snprintf(text, sizeof(text), "%s.more:3: repeats the identity of %s:2; keep one", f->path,
             f->path);
    assert_true(has_problem(f, text));
    assert_true(has_problem(f, ".more:4: repeats the identity of line 2; keep one"));
}

static void test_each_file_is_looked_at_by_itself(void **state)
{
    struct fixture *f = *state;
    char path[96];
    load_two(f, "a:0102\n", "b:01\n"); /* neither is cut, each has one short key */
    assert_int_equal(f->problems.error_count, 0);
    assert_int_equal(f->problems.count, 2);
    load_two(f, "a:" KEY32 "\n", "# nothing\n");
    assert_true(has_problem(f, ".more: holds no key"));
    snprintf(path, sizeof(path), "%s.more", f->path);
    write_file(f, "a:" KEY32, 34);
    problems_deinit(&f->problems);
    f->store = psk_load((const char *[]){f->path, path}, 2, "w", &f->problems);
    assert_null(f->store);
    assert_true(has_problem(f, "w: the file /"));
    assert_true(has_problem(f, ".more cannot be opened: No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finds_each_identity),
        TEST(test_every_size_of_identity_and_key),
        TEST(test_identity_of_any_bytes),
        TEST(test_bad_lines),
        TEST(test_keys_in_other_forms),
        TEST(test_space_beside_an_identity_warns_once),
        TEST(test_utf16),
        TEST(test_files_separated_by_a_space),
        TEST(test_byte_order_mark),
        TEST(test_repeated_identity),
        TEST(test_many_errors_are_capped),
        TEST(test_short_keys_warn_once),
        TEST(test_cut_anywhere),
        TEST(test_cuts_that_cannot_be_told),
        TEST(test_readable_by_others_warns),
        TEST(test_files_that_are_none),
        TEST(test_several_files_are_one_store),
        TEST(test_an_identity_in_two_files_is_told_with_both_places),
        TEST(test_each_file_is_looked_at_by_itself),
        TEST(test_a_million_lines),
        TEST(test_left_out_of_core_dumps),
        TEST(test_text_of_the_file_is_wiped),
        TEST(test_free_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
