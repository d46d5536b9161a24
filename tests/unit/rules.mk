# test_sandbox is a monitor of its own: linked like the program, at the zone's address,
# without cmocka (there is no static one). Its engine replaces the real one.
$(B)/tests/test_sandbox: tests/unit/test_sandbox.c $(B)/libhost.a $(B)/libview.a Makefile tests/unit/rules.mk
	@mkdir -p $(@D)
	@echo "  TEST  $@"
	@$(CC) $(HOST_FLAGS) -I. -MMD -MP -MF $@.d -MT $@ -c $< -o $@.o
	@$(CC) $(LINK_FLAGS) -Wl,-z,muldefs $(LIBDIR)crt1.o $(LIBDIR)crti.o $(GCCDIR)crtbeginS.o \
		$@.o $(B)/src/base/static_link.o -Wl,--start-group $(B)/libhost.a $(B)/libview.a -Wl,--end-group -lcapstone \
		$(GCCDIR)crtendS.o $(LIBDIR)crtn.o -o $@
