/* The stand-in's binaries: this program, copied, with a description of the build appended to it.
 *
 * It runs Python inside this very process, so that /proc/PID/exe is the file environmentd or
 * clusterd itself, and hands Python the arguments unread. The macros come from the compiler's
 * command line; see standin/launcher.py. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    char *first[] = {PYTHON, "-I", "-u", "-c", CODE};
    size_t given = (size_t)(argc > 1 ? argc - 1 : 0);
    size_t leading = sizeof first / sizeof *first;
    char **all = calloc(leading + given + 1, sizeof *all);
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);
    int (*run)(int, char **);

    if (all == NULL || library == NULL) {
        fprintf(stderr, "stand-in: %s\n", library == NULL ? dlerror() : "out of memory");
        return 127;
    }
    *(void **)&run = dlsym(library, "Py_BytesMain");
    if (run == NULL) {
        fprintf(stderr, "stand-in: %s\n", dlerror());
        return 127;
    }
    memcpy(all, first, sizeof first);
    if (given > 0)
        memcpy(all + leading, argv + 1, given * sizeof *argv);
    return run((int)(leading + given), all);
}
