/* Mapped files that get shorter while they are read.
 *
 * Touching a page that is no longer behind a file raises SIGBUS, which ends the process. Where the
 * address lies in a guarded range, zeros are put there instead and the range is marked: whoever
 * reads it finds out from a digest, and can say why. Anything else goes to whoever was asked before.
 */
#include "binding.h"

#if !defined(_WIN32)
#define P2U_GUARD 1
#else
#define P2U_GUARD 0
#endif

#if P2U_GUARD
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 512 };

static struct {
    atomic_uintptr_t start, end; /* `end` 0: not in use */
    atomic_int lost;
} slots[SLOTS];

static struct sigaction before;

static int cover(uintptr_t address)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t start = atomic_load(&slots[i].start), end = atomic_load(&slots[i].end);
        if (address < start || address >= end)
            continue;
        uintptr_t from = address & ~(page - 1);
        void *zeros = mmap((void *)from, (end - from + page - 1) & ~(page - 1), PROT_READ,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        atomic_store(&slots[i].lost, 1);
        return zeros != MAP_FAILED;
    }
    return 0;
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    if (cover((uintptr_t)info->si_addr))
        return;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN)
        signal(number, SIG_DFL); /* and the access is tried again */
    else
        before.sa_handler(number);
}

/* Handlers that were set later than ours call it, if they call anyone; else it is set again. */
static int install(void)
{
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) < 0)
        return -1;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)
        return 0;
    before = now;
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL);
}

static PyObject *guard(PyObject *self, PyObject *buffer)
{
    held h = {.count = 0};
    p2u_bytes range;
    (void)self;
    if (hold(&h, buffer, PyBUF_SIMPLE, &range) < 0)
        return NULL;
    int slot = 0;
    /* Under the GIL: no other thread takes a slot meanwhile. */
    while (slot < SLOTS && atomic_load(&slots[slot].end))
        slot++;
    if (slot == SLOTS || install() < 0) {
        release(&h);
        Py_RETURN_NONE;
    }
    atomic_store(&slots[slot].lost, 0);
    atomic_store(&slots[slot].start, (uintptr_t)range.data);
    atomic_store(&slots[slot].end, (uintptr_t)range.data + range.length);
    release(&h);
    return PyLong_FromLong(slot);
}

static PyObject *unguard(PyObject *self, PyObject *number)
{
    size_t slot;
    (void)self;
    if (to_size(number, SLOTS - 1, &slot) < 0)
        return NULL;
    atomic_store(&slots[slot].end, 0);
    return PyBool_FromLong(atomic_load(&slots[slot].lost));
}
#else
static PyObject *guard(PyObject *self, PyObject *buffer)
{
    (void)self;
    (void)buffer;
    Py_RETURN_NONE;
}

static PyObject *unguard(PyObject *self, PyObject *number)
{
    (void)self;
    (void)number;
    Py_RETURN_FALSE;
}
#endif

PyMethodDef p2u_guard_methods[] = {
    {"guard", guard, METH_O,
     "Guard a mapped range against SIGBUS; returns a number for it, None if that is not possible."},
    {"unguard", unguard, METH_O, "End that; returns whether pages were lost."},
    {NULL, NULL, 0, NULL},
};
