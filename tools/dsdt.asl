/* The machine's DSDT. Compiled at development time into src/devices/dsdt.h; regenerate
 * with the command line in that file's head comment.
 *
 * Addresses agree with include/shadowbox/dev/*.h. */
DefinitionBlock ("", "DSDT", 2, "SHADOW", "SHADOWBX", 0x00000001)
{
    Name (\_S5, Package () { 0x00, 0x00, 0x00, 0x00 }) // SLP_TYP 0, as QEMU's PC

    Name (PICF, Zero) // 1: the guest uses the IO-APIC
    Method (\_PIC, 1, NotSerialized)
    {
        PICF = Arg0
    }

    Scope (\_SB)
    {
        Device (CPU0)
        {
            Name (_HID, "ACPI0007")
            Name (_UID, Zero)
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
            })

            // Slot n's INTA..D: PIRQ (n + pin - 1) mod 4; with the IO-APIC, GSI 16-19.
            Method (_PRT, 0, NotSerialized)
            {
                If (PICF)
                {
                    Return (PRTA)
                }
                Return (PRTP)
            }
#define ROUTE(slot, a, b, c, d) \
                Package () { slot, 0, a, 0 }, Package () { slot, 1, b, 0 }, \
                Package () { slot, 2, c, 0 }, Package () { slot, 3, d, 0 }
#define LINK(slot, a, b, c, d) ROUTE (slot, a, b, c, d)
#define GSI(slot, a, b, c, d) \
                Package () { slot, 0, Zero, a }, Package () { slot, 1, Zero, b }, \
                Package () { slot, 2, Zero, c }, Package () { slot, 3, Zero, d }
            Name (PRTP, Package ()
            {
                LINK (0x0001FFFF, LNKB, LNKC, LNKD, LNKA), LINK (0x0002FFFF, LNKC, LNKD, LNKA, LNKB),
                LINK (0x0003FFFF, LNKD, LNKA, LNKB, LNKC), LINK (0x0004FFFF, LNKA, LNKB, LNKC, LNKD),
                LINK (0x0005FFFF, LNKB, LNKC, LNKD, LNKA), LINK (0x0006FFFF, LNKC, LNKD, LNKA, LNKB),
                LINK (0x0007FFFF, LNKD, LNKA, LNKB, LNKC), LINK (0x0008FFFF, LNKA, LNKB, LNKC, LNKD),
                LINK (0x0009FFFF, LNKB, LNKC, LNKD, LNKA), LINK (0x000AFFFF, LNKC, LNKD, LNKA, LNKB),
                LINK (0x000BFFFF, LNKD, LNKA, LNKB, LNKC), LINK (0x000CFFFF, LNKA, LNKB, LNKC, LNKD),
                LINK (0x000DFFFF, LNKB, LNKC, LNKD, LNKA), LINK (0x000EFFFF, LNKC, LNKD, LNKA, LNKB),
                LINK (0x000FFFFF, LNKD, LNKA, LNKB, LNKC)
            })
            Name (PRTA, Package ()
            {
                GSI (0x0001FFFF, 17, 18, 19, 16), GSI (0x0002FFFF, 18, 19, 16, 17),
                GSI (0x0003FFFF, 19, 16, 17, 18), GSI (0x0004FFFF, 16, 17, 18, 19),
                GSI (0x0005FFFF, 17, 18, 19, 16), GSI (0x0006FFFF, 18, 19, 16, 17),
                GSI (0x0007FFFF, 19, 16, 17, 18), GSI (0x0008FFFF, 16, 17, 18, 19),
                GSI (0x0009FFFF, 17, 18, 19, 16), GSI (0x000AFFFF, 18, 19, 16, 17),
                GSI (0x000BFFFF, 19, 16, 17, 18), GSI (0x000CFFFF, 16, 17, 18, 19),
                GSI (0x000DFFFF, 17, 18, 19, 16), GSI (0x000EFFFF, 18, 19, 16, 17),
                GSI (0x000FFFFF, 19, 16, 17, 18)
            })

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8
                }

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, One)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0x00, 0x08)
                        IRQNoFlags () { 4 }
                    })
                }
                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () { 12 }
                    })
                }
                Device (PIT)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                        IRQNoFlags () { 0 }
                    })
                }
            }
        }

        // Chipset registers that nobody else claims.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, One)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                IO (Decode16, 0x00B2, 0x00B2, 0x01, 0x02)
                IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
                IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C)
                IO (Decode16, 0xAFE0, 0xAFE0, 0x01, 0x04)
            })
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, Zero)
            Name (_STA, 0x0F) // patched to zero on a machine without one
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
            })
        }

        // Interrupt links for guests that use the i8259: 0x80 in the PIRQ register is off.
#define LINK_DEVICE(name, uid, reg) \
        Device (name) \
        { \
            Name (_HID, EisaId ("PNP0C0F")) \
            Name (_UID, uid) \
            Name (_PRS, ResourceTemplate () \
            { \
                IRQ (Level, ActiveLow, Shared) { 5, 10, 11 } \
            }) \
            Method (_STA, 0, NotSerialized) \
            { \
                If (reg & 0x80) { Return (0x09) } \
                Return (0x0B) \
            } \
            Method (_DIS, 0, NotSerialized) \
            { \
                reg |= 0x80 \
            } \
            Name (PRR0, ResourceTemplate () \
            { \
                IRQ (Level, ActiveLow, Shared) { 5 } \
            }) \
            Method (_CRS, 0, NotSerialized) \
            { \
                CreateWordField (PRR0, One, PRRI) \
                If (reg & 0x80) { PRRI = Zero } \
                Else { PRRI = One << (reg & 0x0F) } \
                Return (PRR0) \
            } \
            Method (_SRS, 1, NotSerialized) \
            { \
                CreateWordField (Arg0, One, PRRI) \
                FindSetRightBit (PRRI, Local0) \
                reg = Local0 - One \
            } \
        }
        LINK_DEVICE (LNKA, 0, \_SB.PCI0.ISA.PRQA)
        LINK_DEVICE (LNKB, 1, \_SB.PCI0.ISA.PRQB)
        LINK_DEVICE (LNKC, 2, \_SB.PCI0.ISA.PRQC)
        LINK_DEVICE (LNKD, 3, \_SB.PCI0.ISA.PRQD)
    }

    Scope (\_GPE)
    {
        Name (_HID, "ACPI0006")
    }
}
