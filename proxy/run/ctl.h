/* `dtlsgate ctl`: speaks to the control socket of a running gate, and shows what that answers. */
#ifndef CTL_H
#define CTL_H

/* Where a gate is looked for, if nothing says something else. */
#define CTL_SOCKET "/run/dtlsgate/control.sock"

enum ctl_status {
    CTL_DONE = 0,
    CTL_REFUSED = 1, /* the gate says no */
    CTL_USAGE = 2,
    CTL_NO_GATE = 3, /* none answers there */
};

/* arguments[0] is "ctl". Returns the exit status, an enum ctl_status. */
int ctl_run(int count, char **arguments);

#endif
