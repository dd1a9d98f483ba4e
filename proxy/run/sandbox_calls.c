#include "run/sandbox_calls.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the lists ------------------------------------------------------------------------------ */

/* What every thread does; a worker does no more. */
static const int of_worker[] = {
    /* datagrams, and who wakes whom */
    SCMP_SYS(recvmmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(getsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev), /* the C library's last words: stack smashing, corrupted memory */
    SCMP_SYS(close),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(mlock2),
    SCMP_SYS(munlock),
    SCMP_SYS(fallocate),
    SCMP_SYS(membarrier),
    /* time, threads, signals */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getcpu),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(tgkill),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(getrandom),
};

/* What the other threads do besides, and a start: its loader, sockets, files, threads, the end of
 * root, the sandbox. */
static const int of_process[] = {
    /* files */
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close_range),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(fadvise64),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range), /* a large state_file */
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(lchown),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(umask),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(memfd_create),
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(signalfd4),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(sendfile),
    /* sockets */
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(getpeername),
    SCMP_SYS(shutdown),
    /* processes: exec for an upgrade, which nobody else needs */
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(getppid),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(rt_sigsuspend),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(getrlimit),
    SCMP_SYS(setrlimit),
    SCMP_SYS(prlimit64),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    /* users */
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getresuid),
    SCMP_SYS(getresgid),
    SCMP_SYS(getgroups),
    SCMP_SYS(setgroups),
    SCMP_SYS(setuid),
    SCMP_SYS(setgid),
    SCMP_SYS(setresuid),
    SCMP_SYS(setresgid),
    SCMP_SYS(setfsuid),
    SCMP_SYS(setfsgid),
    /* the sandbox of the program that comes next */
    SCMP_SYS(seccomp),
    SCMP_SYS(landlock_create_ruleset),
    SCMP_SYS(landlock_add_rule),
    SCMP_SYS(landlock_restrict_self),
};

/* Calls of which one argument must have one of these values. */
static const struct {
    int call;
    unsigned argument;
    unsigned values[8]; /* up to the first 0, but for one at the beginning */
} with_values[] = {
    {SCMP_SYS(socketpair), 0, {AF_UNIX}},
    {SCMP_SYS(setsockopt), 1, {IPPROTO_IP, SOL_SOCKET, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP}},
    {SCMP_SYS(ioctl), 1, {FIONREAD, FIONBIO, SIOCGIFINDEX /* fe80::1%eth0 */, TCGETS}},
    {SCMP_SYS(prctl),
     0,
     {PR_SET_NAME, PR_GET_NAME, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_SECCOMP,
      PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, 0x53564d41 /* PR_SET_VMA: names of memory */}},
};

static const unsigned families[] = {AF_INET, AF_INET6, AF_UNIX};
static const unsigned types[] = {SOCK_DGRAM, SOCK_STREAM};
/* By its own number: to Landlock a connection of MPTCP, for one, is none of TCP. */
static const unsigned protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP};

/* Calls that send, and which argument has the flags. */
static const struct {
    int call;
    unsigned flags;
} senders[] = {
    {SCMP_SYS(sendmmsg), 3},
    {SCMP_SYS(sendmsg), 2},
    {SCMP_SYS(sendto), 3},
};

enum {
    SOCKET_TYPE_BITS = 0xf, /* beside SOCK_CLOEXEC and the like */
    NAMESPACE_BITS = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                     CLONE_NEWPID | CLONE_NEWNET,
};

/* ---- making the filter ---------------------------------------------------------------------- */

/* libseccomp: what this machine does not have is left out. */
static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return result;
}

/* SCMP_CMP32() leaves out a member, which clang complains of. */
static struct scmp_arg_cmp is_equal(unsigned argument, uint32_t value)
{
    return (struct scmp_arg_cmp){.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value};
}

static int allow_values(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(with_values) / sizeof(with_values[0]); i++) {
        const unsigned *value = with_values[i].values;
        for (int n = 0; n < 8 && (n == 0 || value[n] != 0) && result == 0; n++)
            result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, with_values[i].call, 1,
                                      is_equal(with_values[i].argument, value[n]));
    }
    return result;
}

static int allow_sockets(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
        for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
            for (size_t p = 0; p < sizeof(protocols) / sizeof(protocols[0]) && result == 0; p++)
                result = seccomp_rule_add(
                    filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3, is_equal(0, families[f]),
                    SCMP_CMP32(1, SCMP_CMP_MASKED_EQ, SOCKET_TYPE_BITS, types[t]),
                    is_equal(2, protocols[p]));
    return result;
}

/* MSG_FASTOPEN would open a connection without connect(), which is all that Landlock looks at. */
static int allow_sending(scmp_filter_ctx filter)
{
    int result = 0;
    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]) && result == 0; i++)
        result =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, senders[i].call, 1,
                             SCMP_CMP32(senders[i].flags, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0));
    return result;
}

/* No memory of the process is both written and executed, nor written first and executed then. Files
 * are mapped to be executed, since the program that comes next has libraries: also one that
 * somebody has written, in memory (memfd_create) or where the state is kept. So this keeps nobody
 * from bringing code, but for a worker, which maps none. */
static int allow_memory(scmp_filter_ctx filter, bool may_execute)
{
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_CMP32(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (result == 0 && may_execute)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_CMP32(2, SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                  SCMP_CMP32(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return result;
}

/* Not clone3(), whose flags a filter cannot see: the C library goes back to clone(). */
static int allow_threads(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                            SCMP_CMP32(0, SCMP_CMP_MASKED_EQ, NAMESPACE_BITS, 0));
}

static int add_rules(scmp_filter_ctx filter, enum sandbox_calls which)
{
    bool is_process = which == SANDBOX_CALLS_OF_PROCESS;
    int result = allow(filter, of_worker, sizeof(of_worker) / sizeof(of_worker[0]));
    if (result == 0)
        result = allow_sending(filter);
    if (result == 0)
        result = allow_memory(filter, is_process);
    if (result != 0 || !is_process)
        return result;
    result = allow(filter, of_process, sizeof(of_process) / sizeof(of_process[0]));
    if (result == 0)
        result = allow_values(filter);
    if (result == 0)
        result = allow_sockets(filter);
    if (result == 0)
        result = allow_threads(filter);
    return result;
}

/* The kernel logs what is refused (SCMP_FLTATR_CTL_LOG), and libseccomp does without where it
 * cannot. SCMP_FLTATR_API_SYSRAWRC: the kernel's own error, where libseccomp can tell. */
static int load(scmp_filter_ctx filter, enum sandbox_calls which)
{
    int result = add_rules(filter, which);
    if (result == 0 && which == SANDBOX_CALLS_OF_PROCESS)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (result != 0)
        return result;
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    (void)seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    return seccomp_load(filter);
}

/* A filter that is there already, such as that of a unit of systemd or of a container, may refuse
 * seccomp() itself. libseccomp takes it for an old kernel then, and only asking again tells. */
static bool is_refused_by_filter(int result)
{
    unsigned action = SECCOMP_RET_ALLOW;
    return result == -EPERM ||
           (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0 && errno == EPERM);
}

bool sandbox_calls_confine(enum sandbox_calls which, bool is_logged_only, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(is_logged_only ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS));
    int result = filter != NULL ? load(filter, which) : -ENOMEM;
    seccomp_release(filter);
    if (result == 0)
        return true;
    if (is_refused_by_filter(result))
        return err_set(err, "a filter around the gate, such as that of its unit or container, "
                            "does not let it make one of its own (seccomp)");
    return err_set(err, "the kernel takes no filter of system calls (seccomp): %s",
                   strerror(-result));
}
