/* What a static glibc link at a high address needs.
 *
 * libc.a refers to some functions weakly and calls them only when they are there. A
 * weak symbol that is missing has address 0, which a 32-bit PC-relative reference
 * cannot reach from the zone (layout.h), so the link fails even though the call is
 * never made. The Makefile forces the ones that libc.a has (-u); this one it does not
 * have any more, so it is defined here, with nothing to do. */
void __pthread_initialize_minimal(void);
void __pthread_initialize_minimal(void)
{
}
