# The isolation drill: the whole program, with code of ours in place of what a view would
# run (ld --wrap), and a driver in place of main. Never part of build/shadowbox.
DRILL_DIR := tests/drill
DRILL_HOST := $(addprefix $(B)/$(DRILL_DIR)/,driver.o world.o machine.o calls.o model.o)
DRILL_VIEW := $(addprefix $(B)/$(DRILL_DIR)/,hook.o attacks.o corrupt.o)
DRILL_WRAP := $(addprefix -Wl$(comma)--wrap=,main view_run sandbox_start panic_at)

$(DRILL_HOST): $(B)/%.o: %.c Makefile $(DRILL_DIR)/rules.mk | $(B)/asm-offsets.h
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(HOST_FLAGS) -I. -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@

$(DRILL_VIEW): $(B)/%.o: %.c Makefile $(DRILL_DIR)/rules.mk | $(B)/asm-offsets.h
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(VIEW_FLAGS) -I. -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@.tmp
	@$(OBJCOPY) $(REDEFINE) $@.tmp $@ && rm -f $@.tmp

$(B)/shadowbox-drill: $(VIEW_OBJ) $(HOST_OBJ) $(DRILL_HOST) $(DRILL_VIEW) Makefile
	@echo "  LINK  $@"
	@$(CC) $(LINK_FLAGS) $(DRILL_WRAP) $(LIBDIR)crt1.o $(LIBDIR)crti.o $(GCCDIR)crtbeginS.o \
		$(VIEW_OBJ) $(HOST_OBJ) $(DRILL_HOST) $(DRILL_VIEW) -lcapstone $(GCCDIR)crtendS.o $(LIBDIR)crtn.o -o $@

tests: $(B)/shadowbox-drill
