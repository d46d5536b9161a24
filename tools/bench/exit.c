/* The program that fork+exec rows execute, linked statically and dynamically. */
int main(void)
{
	return 0;
}
